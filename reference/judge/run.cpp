// A call sees only copies: inputs placed between NaN guards, outputs filled with a pattern. What it left is
// copied out first and then examined, so that a later write cannot count.

#include "reference/judge/run.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>

#include "reference/judge/yardstick.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

TensorView row_of(TensorView view, std::int64_t token) {
  if (view.data != nullptr) view.data = view.at(0, 0, token, 0);
  view.shape[2] = 1;
  return view;
}

// Copies row `tokens[i]` of `whole` to row i of `local`, or back.
void scatter(const TensorView& whole, const TensorView& local, const std::vector<std::int64_t>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    copy_elements(row_of(whole, tokens[i]), row_of(local, static_cast<std::int64_t>(i)));
}
void gather(const TensorView& local, const TensorView& whole, const std::vector<std::int64_t>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    copy_elements(row_of(local, static_cast<std::int64_t>(i)), row_of(whole, tokens[i]));
}

Shape with_rows(Shape shape, std::size_t rows) {
  shape[2] = static_cast<std::int64_t>(rows);
  return shape;
}

// One Case being run: where every rank's tensors lie.
class Call {
 public:
  Call(const Candidate& candidate, const Description& description, const Reference& reference, Buffers& buffers)
      : candidate_(candidate),
        reference_(reference),
        problem_(reference.c.problem),
        asked_(problem_),
        visibility_(problem_),
        buffers_(buffers) {
    buffers.mask_tables.hand_to(asked_);
    memory_ = reference.c.memory;
    if (!description.has(kArbitraryStrides)) {
      memory_.order = description.has(kWantsBshd) ? AxisOrder::kBshd : AxisOrder::kBhsd;
    }
    const Arithmetic arithmetic = resolve(description.arithmetic, problem_.dtype);
    poison_dtype_ = problem_.dtype;
    for (const Dtype dtype : {arithmetic.operand_dtype, arithmetic.accumulator_dtype}) {
      if (format_facts(dtype).finite_max < format_facts(poison_dtype_).finite_max) poison_dtype_ = dtype;
    }
    has_lse_ = description.has(kWritesLse);
    buffers.ranks.resize(std::max<std::size_t>(buffers.ranks.size(), static_cast<std::size_t>(ranks())));
    for (int rank = 0; rank < ranks(); ++rank) place(rank);
  }

  int ranks() const { return problem_.topology.rank_count; }
  bool has_lse() const { return has_lse_; }

  Status execute() {
    if (ranks() == 1) return forward(candidate_.forward, 0);
    // A rank that never reports has failed.
    std::vector<Status> status(static_cast<std::size_t>(ranks()), Status::kError);
    candidate_.on_ranks(problem_.topology,
                        [&](int rank, const Forward& bound) { status[rank] = forward(bound, rank); });
    return *std::max_element(status.begin(), status.end());
  }

  void collect(Got& got) {
    got.out = Tensor(dtype_of_out(problem_.dtype), problem_.shape_out());
    got.lse = Tensor(dtype_of_lse(problem_.dtype), problem_.shape_lse());
    for (int rank = 0; rank < ranks(); ++rank) {
      CallBuffers& mine = buffers_.ranks[rank];
      const std::vector<std::int64_t> rows = local_tokens_of(problem_.topology, rank, problem_.seqlen_q);
      gather(mine.out.view(), got.out.view(), rows);
      if (has_lse_) gather(mine.lse.view(), got.lse.view(), rows);
    }
    for (int rank = 0; rank < ranks(); ++rank) examine(rank, got.structure_faults);
  }

 private:
  void place(int rank) {
    CallBuffers& mine = buffers_.ranks[rank];
    const std::vector<std::int64_t> rows = local_tokens_of(problem_.topology, rank, problem_.seqlen_q);
    const std::vector<std::int64_t> keys = local_tokens_of(problem_.topology, rank, problem_.seqlen_kv);
    const auto input = [&](PlacedTensor& to, TensorRole role, const Tensor& from,
                           const std::vector<std::int64_t>& tokens) {
      const Shape shape = with_rows(from.shape(), tokens.size());
      to.place(problem_.dtype, shape, lay_out(memory_, role, shape), pattern(role, rank));
      scatter(from.view(), to.view(), tokens);
      if (role != TensorRole::kQ) poison_unseen(to.view(), tokens);
      to.remember();
    };
    input(mine.q, TensorRole::kQ, reference_.inputs.q, rows);
    input(mine.k, TensorRole::kK, reference_.inputs.k, keys);
    input(mine.v, TensorRole::kV, reference_.inputs.v, keys);
    const Shape out = with_rows(problem_.shape_out(), rows.size()), lse = with_rows(problem_.shape_lse(), rows.size());
    mine.out.place(dtype_of_out(problem_.dtype), out, lay_out(memory_, TensorRole::kOut, out),
                   pattern(TensorRole::kOut, rank));
    mine.lse.place(dtype_of_lse(problem_.dtype), lse, lay_out(memory_, TensorRole::kLse, lse),
                   pattern(TensorRole::kLse, rank));
  }

  // Another for every tensor, rank and call, so that a copied gap shows.
  std::uint64_t pattern(TensorRole role, int rank) const {
    return buffers_.calls + 5 * static_cast<std::uint64_t>(role) + 29 * static_cast<std::uint64_t>(rank);
  }

  // Keys that no row of the whole problem sees may hold anything finite.
  void poison_unseen(const TensorView& view, const std::vector<std::int64_t>& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (visibility_.any_row_sees(tokens[i])) continue;
      for (std::int64_t b = 0; b < view.shape[0]; ++b) {
        for (std::int64_t h = 0; h < view.shape[1]; ++h) {
          for (std::int64_t d = 0; d < view.shape[3]; ++d) {
            view.store(b, h, static_cast<std::int64_t>(i), d,
                       finite_poison(poison_dtype_, buffers_.calls, tokens[i] + 31 * d));
          }
        }
      }
    }
  }

  Status forward(const Forward& bound, int rank) {
    Problem asked = asked_;
    asked.rank = rank;
    const CallBuffers& mine = buffers_.ranks[rank];
    return bound(asked, mine.q.view(), mine.k.view(), mine.v.view(), mine.out.view(),
                 has_lse_ ? &mine.lse.view() : nullptr, nullptr);
  }

  void examine(int rank, std::vector<std::string>& faults) {
    CallBuffers& mine = buffers_.ranks[rank];
    const std::string where = ranks() > 1 ? " on rank " + std::to_string(rank) : "";
    for (auto& [tensor, name] : {std::pair<PlacedTensor*, const char*>{&mine.q, "q"}, {&mine.k, "k"}, {&mine.v, "v"}}) {
      const std::int64_t bytes = tensor->bytes_changed(true);
      if (bytes)
        faults.push_back("the input " + std::string(name) + " or memory beside it was modified (" +
                         std::to_string(bytes) + " bytes)" + where);
    }
    for (auto& [tensor, name] : {std::pair<PlacedTensor*, const char*>{&mine.out, "out"}, {&mine.lse, "lse"}}) {
      std::string first;
      const bool asked = tensor == &mine.out || has_lse_;
      const std::int64_t unwritten = asked ? tensor->elements_unwritten(first) : 0;
      if (unwritten)
        faults.push_back(std::to_string(unwritten) + " elements of " + name + " were never written, the first " +
                         first + where);
      const std::int64_t bytes = tensor->bytes_changed(!asked);
      if (bytes)
        faults.push_back("memory outside " + std::string(name) + " was written (" + std::to_string(bytes) + " bytes)" +
                         where);
    }
  }

  const Candidate& candidate_;
  const Reference& reference_;
  const Problem& problem_;
  Problem asked_;  // with the tables of its mask
  const Visibility visibility_;
  Buffers& buffers_;
  Memory memory_;
  bool has_lse_ = false;
  Dtype poison_dtype_;  // the narrowest range a hidden slot is read in
};

// Dense, in whichever axis order: what a candidate without arbitrary strides can be given.
bool is_plain(Memory memory) {
  memory.order = AxisOrder::kBhsd;
  return memory == Memory{};
}

// What the candidate threw, in words; nothing when it returned.
template <class Work>
std::optional<std::string> thrown_by(const Work& work) {
  try {
    work();
    return std::nullopt;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "threw something that is no std::exception";
  }
}

void fail(Got& got, CallStatus status, const std::string& reason) {
  got.status = status;
  got.reason = reason;
}

}  // namespace

Got run(const Candidate& candidate, const Reference& reference, Buffers& buffers) {
  const Problem& problem = reference.c.problem;
  Got got{CallStatus::kReturned, "", {}, {}, false, {}, 0};
  Description description;
  const auto undescribed = thrown_by([&] {
    description = candidate.describe(problem.dtype, reference.c.direction);
    validate(description.arithmetic, problem.dtype);
  });
  if (undescribed) {
    fail(got, CallStatus::kFailed, *undescribed);
    return got;
  }
  std::string unsupported = unsupported_reason(description, problem);
  if (unsupported.empty() && !description.has(kArbitraryStrides) && !is_plain(reference.c.memory)) {
    unsupported = "memory " + to_string(reference.c.memory);
  }
  if (unsupported.empty() && problem.topology.rank_count > 1 && !candidate.on_ranks) unsupported = "several ranks";
  if (!unsupported.empty()) {
    fail(got, CallStatus::kUnsupported, unsupported);
    return got;
  }
  const auto loose = fields_beyond_yardstick(description.arithmetic, problem.dtype, problem.seqlen_kv);
  if (!loose.empty()) {
    fail(got, CallStatus::kFailed,
         "its declaration is too loose for this version to judge by (" + loose.front().name + ")");
    return got;
  }
  got.empty_rows_defined = description.has(kEmptyRowsDefined);
  ++buffers.calls;
  std::optional<Call> call;
  const auto unplaced = thrown_by([&] { call.emplace(candidate, description, reference, buffers); });
  if (unplaced) {
    fail(got, CallStatus::kFailed, *unplaced);
    return got;
  }
  got.has_lse = call->has_lse();
  Status status = Status::kOk;
  const auto start = std::chrono::steady_clock::now();
  const auto thrown = thrown_by([&] { status = call->execute(); });
  got.time_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (thrown) {
    fail(got, CallStatus::kFailed, *thrown);
  } else if (status == Status::kUnsupported) {
    fail(got, CallStatus::kRefused, "refused a Case it had declared");
  } else if (status != Status::kOk) {
    fail(got, CallStatus::kFailed, "returned an error");
  } else {
    const auto uncollected = thrown_by([&] { call->collect(got); });
    if (uncollected) fail(got, CallStatus::kFailed, *uncollected);
  }
  return got;
}

}  // namespace ringproof

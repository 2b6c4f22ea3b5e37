// A call sees only copies: inputs placed between NaN guards, outputs filled with a pattern. What it left is
// copied out first and then examined, so that a later write cannot count.

#include "reference/judge/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <optional>

#include "reference/judge/hidden_slots.h"
#include "reference/spec/error.h"

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
  Call(const Candidate& candidate, const Description& description, const Reference& reference, int nan_level,
       bool asks_lse, Buffers& buffers)
      : candidate_(candidate),
        reference_(reference),
        problem_(reference.c.problem),
        asked_(with_data(problem_, reference.inputs)),
        buffers_(buffers),
        memory_(reference.c.memory),
        hidden_(problem_, reference.c.inputs.seed, nan_level, memory_.broadcast_kv) {
    buffers.mask_tables.hand_to(asked_);
    if (!description.has(kArbitraryStrides)) {
      memory_.order = description.has(kWantsBshd) ? AxisOrder::kBshd : AxisOrder::kBhsd;
    }
    const Arithmetic arithmetic = resolve(description.arithmetic, problem_.dtype);
    poison_dtype_ = problem_.dtype;
    for (const Dtype dtype : {arithmetic.operand_dtype, arithmetic.accumulator_dtype}) {
      if (format_facts(dtype).finite_max < format_facts(poison_dtype_).finite_max) poison_dtype_ = dtype;
    }
    has_lse_ = asks_lse && description.has(kWritesLse);
    const auto ranks_used = static_cast<std::size_t>(ranks());
    if (buffers.ranks.size() < ranks_used) buffers.ranks.resize(ranks_used);
    buffers.case_line.clear();
    buffers.ranks_used = ranks_used;
    for (int rank = 0; rank < ranks(); ++rank) place(rank);
    if (candidate_.share) share();
  }

  int ranks() const { return problem_.topology.rank_count; }
  bool has_lse() const { return has_lse_; }

  Status execute() {
    const CrashSentence said("ringproof: " + candidate_.name + " crashed on '" + to_string(reference_.c) +
                             "': inconclusive\n");
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
    if (candidate_.structure_faults) {
      for (std::string& fault : candidate_.structure_faults()) got.structure_faults.push_back(std::move(fault));
    }
    if (ranks() > 1 && candidate_.rank_reports) got.ranks = candidate_.rank_reports();
    got.rows_spoiled = hidden_.spoiled_rows();
    buffers_.case_line = to_string(reference_.c);
  }

 private:
  void place(int rank) {
    CallBuffers& mine = buffers_.ranks[rank];
    if (candidate_.share) {
      for (PlacedTensor* tensor : {&mine.q, &mine.k, &mine.v, &mine.out, &mine.lse}) tensor->be_shared();
    }
    const std::vector<std::int64_t> rows = local_tokens_of(problem_.topology, rank, problem_.seqlen_q);
    const std::vector<std::int64_t> keys = local_tokens_of(problem_.topology, rank, problem_.seqlen_kv);
    const auto input = [&](PlacedTensor& to, TensorRole role, const Tensor& from,
                           const std::vector<std::int64_t>& tokens) {
      const Shape shape = with_rows(from.shape(), tokens.size());
      to.place(problem_.dtype, shape, lay_out(memory_, role, shape), memory_.page_end, pattern(role, rank));
      scatter(from.view(), to.view(), tokens);
      // With alias every key is a query too, and no slot is hidden.
      if (role != TensorRole::kQ && !memory_.alias) hidden_.poison(to.view(), tokens, poison_dtype_, buffers_.calls);
      to.remember();
    };
    input(mine.q, TensorRole::kQ, reference_.inputs_asked().q, rows);
    if (memory_.alias) {
      mine.k.share(mine.q.view());
    } else {
      input(mine.k, TensorRole::kK, reference_.inputs_asked().k, keys);
    }
    if (memory_.alias || memory_.v_in_k) {
      TensorView values = mine.k.view();
      values.shape[3] = problem_.head_dim_v;
      mine.v.share(values);
    } else {
      input(mine.v, TensorRole::kV, reference_.inputs_asked().v, keys);
    }
    const auto output = [&](PlacedTensor& to, TensorRole role, Dtype dtype, const Shape& whole) {
      const Shape shape = with_rows(whole, rows.size());
      to.place(dtype, shape, lay_out(memory_, role, shape), memory_.page_end, pattern(role, rank));
    };
    output(mine.out, TensorRole::kOut, dtype_of_out(problem_.dtype), problem_.shape_out());
    output(mine.lse, TensorRole::kLse, dtype_of_lse(problem_.dtype), problem_.shape_lse());
  }

  void share() {
    std::vector<SharedRegion> regions;
    for (std::size_t rank = 0; rank < buffers_.ranks.size(); ++rank) {
      const CallBuffers& mine = buffers_.ranks[rank];
      const std::size_t before = regions.size();
      for (const PlacedTensor* input : {&mine.q, &mine.k, &mine.v}) input->add_regions(false, regions);
      for (const PlacedTensor* output : {&mine.out, &mine.lse}) output->add_regions(true, regions);
      for (std::size_t at = before; at < regions.size(); ++at) regions[at].rank = static_cast<int>(rank);
    }
    candidate_.share(regions);
  }

  // Another for every tensor, rank and call, so that a copied gap shows.
  std::uint64_t pattern(TensorRole role, int rank) const {
    return buffers_.calls + 5 * static_cast<std::uint64_t>(role) + 29 * static_cast<std::uint64_t>(rank);
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
    const auto examine_end = [&](PlacedTensor& tensor, const std::string& name) {
      const std::ptrdiff_t beyond = tensor.touched_beyond();
      if (beyond >= 0)
        faults.push_back("memory behind the last element of " + name + " was read or written (" +
                         std::to_string(beyond) + " bytes behind its end)" + where);
      tensor.remember();  // what changes from here on was written late
    };
    for (auto& [tensor, name] : {std::pair<PlacedTensor*, const char*>{&mine.q, "q"}, {&mine.k, "k"}, {&mine.v, "v"}}) {
      const std::int64_t bytes = tensor->bytes_changed(true);
      if (bytes)
        faults.push_back("the input " + std::string(name) + " or memory beside it was modified (" +
                         std::to_string(bytes) + " bytes)" + where);
      examine_end(*tensor, name);
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
      examine_end(*tensor, name);
    }
  }

  const Candidate& candidate_;
  const Reference& reference_;
  const Problem& problem_;
  Problem asked_;  // with the tables of its mask
  Buffers& buffers_;
  Memory memory_;
  HiddenSlots hidden_;
  bool has_lse_ = false;
  Dtype poison_dtype_;  // the narrowest range a hidden slot is read in
};

// Dense, in whichever axis order: what a candidate without arbitrary strides can be given.
bool is_plain(Memory memory) {
  memory.order = AxisOrder::kBhsd;
  memory.nan_level = 0;
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

// The highest level of NaN that a candidate claims to bear.
int nan_level_claimed(const Description& description) {
  if (!description.has(kNanSafeUnseen)) return 0;
  return description.has(kNanSafeHidden) ? 2 : 1;
}

// One call and what came back.
Got call_once(const Candidate& candidate, const Description& description, const Reference& reference, int nan_level,
              bool asks_lse, Buffers& buffers) {
  Got got{CallStatus::kReturned, "", {}, {}, false, {}, 0};
  got.structure_faults = written_late(buffers);
  got.empty_rows_defined = description.has(kEmptyRowsDefined);
  got.bears_hidden_nan = nan_level_claimed(description) == 2;
  got.lse_leaves_sink_out = reference.c.problem.has_sink && description.has(kLseLeavesSinkOut);
  ++buffers.calls;
  std::optional<Call> call;
  const auto unplaced =
      thrown_by([&] { call.emplace(candidate, description, reference, nan_level, asks_lse, buffers); });
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

// NaN of `leaky` where `got` has none and nothing that is seen explains it.
std::int64_t count_leaks(const Got& got, const Got& leaky) {
  const TensorView out = got.out.view(), with_nan = leaky.out.view();
  std::int64_t count = 0;
  std::size_t row = 0;
  for (std::int64_t b = 0; b < out.shape[0]; ++b) {
    for (std::int64_t h = 0; h < out.shape[1]; ++h) {
      for (std::int64_t s = 0; s < out.shape[2]; ++s, ++row) {
        if (!leaky.rows_spoiled.empty() && leaky.rows_spoiled[row]) continue;
        for (std::int64_t d = 0; d < out.shape[3]; ++d) {
          count += std::isnan(with_nan.load(b, h, s, d)) && !std::isnan(out.load(b, h, s, d));
        }
      }
    }
  }
  return count;
}

// What NaN of a level that is not claimed does: shown, and only its faults of structure are faults.
void show_leaks(Got& got, const Got& leaky, int nan_level) {
  const std::string slots = nan_level == 1 ? "slots no row sees" : "slots a row does not see";
  got.structure_faults.insert(got.structure_faults.end(), leaky.structure_faults.begin(), leaky.structure_faults.end());
  if (leaky.status != CallStatus::kReturned) {
    got.shown.push_back("with NaN in " + slots + ", which it does not claim to bear, the call failed: " + leaky.reason);
    return;
  }
  const std::int64_t count = count_leaks(got, leaky);
  got.shown.push_back("NaN in " + slots +
                      (count == 0
                           ? " changes nothing, though it is not claimed"
                           : " leaks into " + std::to_string(count) + " elements of out, as it may: not claimed"));
}

}  // namespace

Got run(const Candidate& candidate, const Reference& reference, Buffers& buffers, bool asks_lse) {
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
  const bool is_huge = reference.c.memory.huge_batch || reference.c.memory.huge_seq;  // no device has terabytes
  if (unsupported.empty() && description.has(kWantsDeviceMemory) && is_huge) {
    unsupported = "memory " + to_string(reference.c.memory) + " on a device";
  }
  if (unsupported.empty() && problem.topology.rank_count > 1 && !candidate.on_ranks) unsupported = "several ranks";
  if (!unsupported.empty()) {
    fail(got, CallStatus::kUnsupported, unsupported);
    return got;
  }
  const int nan_level = reference.c.memory.nan_level,
            judged_level = std::min(nan_level, nan_level_claimed(description));
  got = call_once(candidate, description, reference, judged_level, asks_lse, buffers);
  if (judged_level < nan_level && got.status == CallStatus::kReturned) {
    show_leaks(got, call_once(candidate, description, reference, nan_level, asks_lse, buffers), nan_level);
  }
  got.description = description;
  return got;
}

}  // namespace ringproof

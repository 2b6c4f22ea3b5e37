#include "property_tests/candidates.h"

#include <algorithm>
#include <limits>

#include "distributed/candidates.h"
#include "gpu/candidates.h"
#include "property_tests/mutants/mutants.h"
#include "reference/judge/power.h"
#include "reference/judge/verify.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/error.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

Description description_of(std::uint32_t dtypes, const Arithmetic& arithmetic) {
  Description description;
  description.dtypes = dtypes;
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                         kEmptyRowsDefined | kNonPositiveScale;
  description.arithmetic = arithmetic;
  return description;
}

// Values of `from`, in the dtype of `to`.
void convert(const TensorView& from, const TensorView& to) {
  for (std::int64_t b = 0; b < to.shape[0]; ++b) {
    for (std::int64_t h = 0; h < to.shape[1]; ++h) {
      for (std::int64_t s = 0; s < to.shape[2]; ++s) {
        for (std::int64_t d = 0; d < to.shape[3]; ++d) to.store(b, h, s, d, from.load(b, h, s, d));
      }
    }
  }
}

// Ends of `pieces` key ranges, sorted draws from the lengths' hash; the last is seqlen_kv.
std::vector<std::int64_t> piece_ends(const Problem& problem, int pieces) {
  std::vector<std::int64_t> ends{problem.seqlen_kv};
  for (int piece = 1; piece < pieces; ++piece) {
    const std::uint64_t draw = hashed_bits(static_cast<std::uint64_t>(problem.seqlen_q), TensorRole::kK, piece, 0);
    ends.push_back(static_cast<std::int64_t>(draw % static_cast<std::uint64_t>(problem.seqlen_kv + 1)));
  }
  std::sort(ends.begin(), ends.end());
  return ends;
}

TensorView keys_of(TensorView view, std::int64_t begin, std::int64_t end) {
  if (view.data != nullptr) view.data = view.at(0, 0, begin, 0);
  view.shape[2] = end - begin;
  return view;
}

Band shifted(const Band& band, std::int64_t begin) {
  return {band.lo <= -kUnbounded ? band.lo : band.lo - begin, band.hi >= kUnbounded ? band.hi : band.hi - begin};
}

void run_split(const LocalStep& step, Merge merge, int pieces, const Problem& p, const TensorView& q,
               const TensorView& k, const TensorView& v, const TensorView& out, const TensorView& lse) {
  const Dtype partial = resolve(step.arithmetic(p.dtype), p.dtype).partial_dtype;
  const Tensor out_whole(partial, p.shape_out()), lse_whole(partial, p.shape_lse());
  const Tensor out_piece(partial, p.shape_out()), lse_piece(partial, p.shape_lse());
  const Band band = band_of(p.mask, p.seqlen_q, p.seqlen_kv);
  bool first = true;
  std::int64_t begin = 0;
  for (const std::int64_t end : piece_ends(p, pieces)) {
    const LocalProblem local{p.batch,       p.heads_q,    p.heads_kv,           p.seqlen_q,     end - begin,
                             p.head_dim_qk, p.head_dim_v, shifted(band, begin), p.softmax_scale};
    const TensorView o = first ? out_whole.view() : out_piece.view(), l = first ? lse_whole.view() : lse_piece.view();
    step.run(local, q, keys_of(k, begin, end), keys_of(v, begin, end), o, l, nullptr);
    if (!first) merge(out_whole.view(), lse_whole.view(), o, l);
    first = false;
    begin = end;
  }
  convert(out_whole.view(), out);
  convert(lse_whole.view(), lse);
}

}  // namespace

Candidate oracle_candidate() {
  Candidate candidate;
  candidate.name = "oracle";
  candidate.describe = [](Dtype asked, Direction) {
    const LocalStep step = double_step();
    const std::uint32_t fp8 = bit_of(Dtype::kF8E4m3) | bit_of(Dtype::kF8E5m2);
    Description description = description_of(step.dtypes | fp8, step.arithmetic(asked));
    description.masks |= bit_of(MaskKind::kDocument) | bit_of(MaskKind::kBlockSparse);
    description.features |= kSoftcap | kSink;
    return description;
  };
  candidate.forward = [](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                         const TensorView& out, const TensorView* lse, void*) {
    const ForwardAnswer answer = attention_forward(problem, q, k, v, 1);
    std::size_t at = 0, row = 0;
    for (std::int64_t b = 0; b < out.shape[0]; ++b) {
      for (std::int64_t h = 0; h < out.shape[1]; ++h) {
        for (std::int64_t s = 0; s < out.shape[2]; ++s) {
          for (std::int64_t d = 0; d < out.shape[3]; ++d) out.store(b, h, s, d, answer.out.value[at++]);
          if (lse != nullptr) lse->store(b, h, s, 0, answer.lse.value[row]);
          ++row;
        }
      }
    }
    return Status::kOk;
  };
  return candidate;
}

Candidate split_candidate(const LocalStep& local_step, Merge merge, int pieces) {
  Candidate candidate;
  candidate.name = "split" + std::to_string(pieces) + ":" + local_step.name;
  candidate.describe = [local_step, pieces](Dtype asked, Direction) {
    Arithmetic arithmetic = local_step.arithmetic(asked);
    arithmetic.merges = pieces - 1;
    return description_of(local_step.dtypes, arithmetic);
  };
  candidate.forward = [local_step, merge, pieces](const Problem& problem, const TensorView& q, const TensorView& k,
                                                  const TensorView& v, const TensorView& out, const TensorView* lse,
                                                  void*) {
    const Tensor unasked(dtype_of_lse(problem.dtype), problem.shape_lse());
    run_split(local_step, merge, pieces, problem, q, k, v, out, lse != nullptr ? *lse : unasked.view());
    return Status::kOk;
  };
  return candidate;
}

Candidate built_in(const std::string& name) {
  for (const auto& list : {gpu_candidates(), distributed_candidates()}) {
    for (const Candidate& one : list) {
      if (one.name == name) return one;
    }
  }
  assert_that(false, "a built-in candidate is named as it names itself");
  return {};
}

std::vector<Candidate> correct_candidates() {
  return {oracle_candidate(), built_in("flash_forward_fp32"), built_in("ring:double"),
          built_in("ring:flash_forward_fp32"), specimen_flash()};
}

std::string is_accepted(const Candidate& candidate, const Case& c) {
  const Reference reference = prepare(c, 1);
  Buffers buffers;
  const Dtype storage = c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, c.direction).arithmetic, storage);
  const Got got = run(candidate, reference, buffers);
  Evidence evidence = compare(candidate.name, reference, arithmetic, got);
  evidence.hidden =
      hidden_by_declaration(reference, arithmetic, got.description.has(kWritesLse), tensors_of_run(1), evidence.zeros);
  const CaseVerdict verdict = verify_case(evidence);
  const bool defines_nothing = got.status == CallStatus::kReturned && verdict.outcome == Outcome::kUnsupported;
  if (verdict.outcome == Outcome::kAccepted || defines_nothing) return "";
  return std::string(to_string(verdict.outcome)) + ": " + verdict.reason;
}

}  // namespace ringproof

// Each kernel once as a candidate per way to run it, once as a local step: written out, nothing registers itself.

#include "gpu/candidates.h"

#include <utility>

#include "gpu/flash_forward_fp32.h"
#include "gpu/flash_problem.h"
#include "reference/spec/error.h"
#ifdef RINGPROOF_WITH_CUDA
#include "gpu/device_run.h"
#endif

namespace ringproof {
namespace {

using FlashKernel = void (*)(const FlashParams&, void* stream);

/// fp32 throughout, keys ascending, correctly rounded sums and products, expf within 2 ulp on both sides: the default
/// Arithmetic says it all.
Description describe_flash_forward_fp32(Dtype, Direction) {
  Description description;
  description.dtypes = bit_of(Dtype::kF32);
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow);
  description.directions = bit_of(Direction::kForward);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                         kNanSafeUnseen | kNanSafeHidden | kEmptyRowsDefined | kNonPositiveScale | kBatchInvariant;
  description.schedules = bit_of(Schedule::kSingle);
  description.head_dim_max = kFlashForwardFp32HeadDimMax;
  return description;
}

/// How `kernel` is run on tensors in host memory.
using Run = void (*)(FlashKernel kernel, const TensorView& q, const TensorView& k, const TensorView& v,
                     const TensorView& out, const TensorView* lse, const Band& band, double softmax_scale);

void run_on_host(FlashKernel kernel, const TensorView& q, const TensorView& k, const TensorView& v,
                 const TensorView& out, const TensorView* lse, const Band& band, double softmax_scale) {
  kernel(make_flash_params(q, k, v, out, lse, band, softmax_scale), nullptr);
}

Candidate flash_forward_fp32_candidate(std::string name, FlashKernel kernel, Run run) {
  Candidate candidate;
  candidate.name = std::move(name);
  candidate.describe = describe_flash_forward_fp32;
  candidate.forward = [kernel, run](const Problem& problem, const TensorView& q, const TensorView& k,
                                    const TensorView& v, const TensorView& out, const TensorView* lse, void*) {
    const Description description = describe_flash_forward_fp32(problem.dtype, Direction::kForward);
    if (!unsupported_reason(description, problem).empty()) return Status::kUnsupported;
    const Band band = band_of(problem.mask, problem.seqlen_q, problem.seqlen_kv);
    run(kernel, q, k, v, out, lse, band, problem.softmax_scale);
    return Status::kOk;
  };
  return candidate;
}

}  // namespace

std::vector<Candidate> gpu_candidates() {
  std::vector<Candidate> candidates;
  candidates.push_back(flash_forward_fp32_candidate("flash_forward_fp32", on_host::flash_forward_fp32, run_on_host));
#ifdef RINGPROOF_WITH_CUDA
  candidates.push_back(
      flash_forward_fp32_candidate("flash_forward_fp32:cuda", on_cuda::flash_forward_fp32, run_on_device));
  candidates.back().not_run_reason = device_missing_reason();
#else
  candidates.push_back(candidates.front());
  candidates.back().name = "flash_forward_fp32:cuda";
  candidates.back().not_run_reason = "no CUDA device (built without CUDA)";
#endif
  return candidates;
}

std::vector<LocalStep> gpu_local_steps() {
  LocalStep step;
  step.name = "flash_forward_fp32";
  step.dtypes = bit_of(Dtype::kF32);
  step.head_dim_max = kFlashForwardFp32HeadDimMax;
  step.arithmetic = [](Dtype) {
    Arithmetic arithmetic;
    arithmetic.partial_dtype = Dtype::kF32;
    return arithmetic;
  };
  step.run = [](const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                const TensorView& out, const TensorView& lse, void*) {
    assert_that(problem.softcap == 0 && problem.documents == 0,
                "the local step flash_forward_fp32 has no softcap and no documents");
    run_on_host(on_host::flash_forward_fp32, q, k, v, out, &lse, problem.band, problem.softmax_scale);
  };
  return {step};
}

}  // namespace ringproof

// From the list of kernels to what the gate and the ring take.

#include "gpu/candidates.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "gpu/flash_problem.h"
#include "reference/spec/error.h"
#ifdef RINGPROOF_WITH_CUDA
#include "gpu/device/run.h"
#endif

namespace ringproof {
namespace {

void run_on_host(const FlashKernel& kernel, FlashParams params) {
  std::vector<std::byte> workspace;
  if (kernel.workspace_bytes != nullptr) {
    // NaN throughout, so that what a kernel reads of it before writing shows.
    workspace.assign(static_cast<std::size_t>(kernel.workspace_bytes(params)), std::byte{0xff});
    params.workspace = workspace.data();
  }
  kernel.on_host(params, nullptr);
}

Candidate candidate_of(const FlashKernel& kernel, std::string name) {
  Candidate candidate;
  candidate.name = std::move(name);
  candidate.describe = [describe = kernel.describe](Dtype, Direction) { return describe(); };
  return candidate;
}

LocalStep step_of(const FlashKernel& kernel, std::string name) {
  LocalStep step;
  step.name = std::move(name);
  step.dtypes = bit_of(kernel.dtype);
  const Description description = kernel.describe();
  step.head_dim_max = description.head_dim_max;
  step.takes_softcap = description.has(kSoftcap);
  step.arithmetic = [kernel](Dtype storage) {
    Arithmetic arithmetic = kernel.describe().arithmetic;
    arithmetic.partial_dtype = storage == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
    return arithmetic;
  };
  return step;
}

}  // namespace

Candidate candidate_on_host(const FlashKernel& kernel) {
  Candidate candidate = candidate_of(kernel, kernel.name);
  candidate.forward = [kernel](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                               const TensorView& out, const TensorView* lse, void*) {
    if (!unsupported_reason(kernel.describe(), problem).empty()) return Status::kUnsupported;
    run_on_host(kernel, make_flash_params(problem, q, k, v, out, lse));
    return Status::kOk;
  };
  return candidate;
}

Candidate candidate_on_cuda(const FlashKernel& kernel) {
  Candidate candidate = candidate_of(kernel, kernel.name + std::string(":cuda"));
#ifdef RINGPROOF_WITH_CUDA
  candidate.not_run_reason = device_missing_reason();
  const auto faults = std::make_shared<std::vector<std::string>>();
  candidate.structure_faults = [faults] { return *faults; };
  candidate.forward = [kernel, faults, runner = std::make_shared<DeviceRunner>()](
                          const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                          const TensorView& out, const TensorView* lse, void*) {
    if (!unsupported_reason(kernel.describe(), problem).empty()) return Status::kUnsupported;
    faults->clear();
    *faults = runner->run(kernel, make_flash_params(problem, q, k, v, out, lse));
    return Status::kOk;
  };
#else
  candidate.not_run_reason = "no CUDA device (built without CUDA)";
  candidate.forward = [](const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView&,
                         const TensorView*, void*) -> Status { throw Error("this build has no CUDA"); };
#endif
  return candidate;
}

std::vector<Candidate> gpu_candidates() {
  std::vector<Candidate> candidates;
  for (const FlashKernel& kernel : flash_kernels()) {
    candidates.push_back(candidate_on_host(kernel));
    candidates.push_back(candidate_on_cuda(kernel));
  }
  return candidates;
}

std::vector<LocalStep> gpu_local_steps() {
  std::vector<LocalStep> steps;
  for (const FlashKernel& kernel : flash_kernels()) {
    LocalStep step = step_of(kernel, kernel.name);
    const Description description = kernel.describe();
    step.takes_blocks = (description.masks & bit_of(MaskKind::kBlockSparse)) != 0;
    step.takes_sink = description.has(kSink);
    step.run = [kernel](const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                        const TensorView& out, const TensorView& lse,
                        void*) { run_on_host(kernel, make_flash_params(problem, q, k, v, out, &lse)); };
    steps.push_back(step);
  }
  return steps;
}

std::vector<LocalStep> gpu_local_steps_on_cuda() {
  std::vector<LocalStep> steps;
  for (const FlashKernel& kernel : flash_kernels()) {
    if (!kernel.on_cuda || kernel.workspace_bytes != nullptr) continue;
    LocalStep step = step_of(kernel, kernel.name + std::string(":cuda"));
    step.enqueues = true;
    step.run = [kernel](const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                        const TensorView& out, const TensorView& lse,
                        void* stream) { kernel.on_cuda(make_flash_params(problem, q, k, v, out, &lse), stream); };
    steps.push_back(step);
  }
  return steps;
}

}  // namespace ringproof

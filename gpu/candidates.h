#pragma once

#include <vector>

#include "reference/spec/candidate.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// The kernels of this folder as candidates: `flash_forward_fp32`, run by the host runtime, and
/// `flash_forward_fp32:cuda`, the same source on CUDA device 0 (its not_run_reason says so where there is none, or no
/// CUDA in the build).
/// Both take tensors in host memory; the `stream` argument is not read.
std::vector<Candidate> gpu_candidates();

/// The same kernels as the compute of a ring, by the names of their candidates, run by the host runtime.
std::vector<LocalStep> gpu_local_steps();

}  // namespace ringproof

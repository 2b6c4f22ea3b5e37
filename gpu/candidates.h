#pragma once

#include <vector>

#include "gpu/kernels.h"
#include "reference/spec/candidate.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// A kernel as a candidate on tensors in host memory, run by the host runtime; its `stream` argument is not read.
Candidate candidate_on_host(const FlashKernel& kernel);

/// The same source on CUDA device 0, `NAME:cuda`; its not_run_reason says so where there is no device, or no CUDA in
/// the build.
Candidate candidate_on_cuda(const FlashKernel& kernel);

/// Every kernel of flash_kernels(), in both ways.
std::vector<Candidate> gpu_candidates();

/// Every kernel as the compute of a ring, by the name of its candidate, run by the host runtime.
std::vector<LocalStep> gpu_local_steps();

/// The same on CUDA device 0, `NAME:cuda`: given to the stream, on memory that host and device both reach. Those that
/// need no workspace, without blocks and sinks (whose tables lie on the host); none in a build without CUDA.
std::vector<LocalStep> gpu_local_steps_on_cuda();

}  // namespace ringproof

#pragma once

#include <string>

#include "ci/gate.h"
#include "distributed/job_place.h"

namespace ringproof {

/// Why rings cannot run over NCCL on this machine, or in this build; empty when they can.
std::string nccl_not_here_reason();

/// run_gate() as one process of a job over NCCL, a GPU per process: process 0 judges, the others compute their ranks
/// and print nothing. Local steps of rings are those of the host, on memory that the GPU reaches too. Throws InputError
/// where no launcher has said, by a variable of `environment`, which process this is.
ExitCode run_gate_over_nccl(GateOptions options, const Environment& environment);

}  // namespace ringproof

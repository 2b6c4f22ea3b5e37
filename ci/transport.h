#pragma once

#include <vector>

#include "ci/gate.h"
#include "reference/spec/candidate.h"
#include "reference/spec/case.h"

namespace ringproof {

/// run_gate() on the transport and under the launcher that the options name. With `--launcher mpirun` this process
/// starts mpirun on itself and waits; a job that ends before its verdict is inconclusive, and no process is left
/// behind. With `--transport mpi` it is one process of a job: process 0 judges, the others compute their ranks and
/// print nothing; with `--transport nccl` likewise (transport_nccl.h). Where MPI, NCCL or a GPU is missing that is a
/// line *not run*, and inconclusive with `--require`. Throws InputError.
ExitCode run_gate_on_transport(GateOptions options);

/// The candidates, their ranks moved to the transport of the options; unless that is threads, without names only those
/// with ranks.
std::vector<Candidate> on_transport(const GateOptions& options, std::vector<Candidate> candidates);

/// The Cases without those of more ranks than the job of the options has, of which a line tells how many. Throws
/// InputError where --topology itself asks for more.
std::vector<Case> cases_on_transport(const GateOptions& options, std::vector<Case> cases);

/// Whether the job has failed: then nothing more can be asked.
bool has_failed(const GateOptions& options);

/// Why rings do not run over MPI in this run; empty when they do.
std::string mpi_not_run_reason(const GateOptions& options);
/// The same over NCCL.
std::string nccl_not_run_reason(const GateOptions& options);

}  // namespace ringproof

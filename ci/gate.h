#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ci/cases.h"
#include "ci/exit_codes.h"
#include "distributed/candidates.h"
#include "reference/judge/sampling.h"
#include "reference/spec/candidate.h"

namespace ringproof {

struct ProcessJob;

/// Of kernels in processes of their own.
struct WorkerOptions {
  double time_limit_seconds = 60;      ///< of one call
  std::uint64_t memory_limit_mib = 0;  ///< of the process; 0: half of this machine's memory
  int descriptor = -1;                 ///< the socket at whose other end the caller serves a kernel; -1: none
};

/// What `ringproof gate` was asked.
struct GateOptions {
  std::vector<std::string> arguments;   ///< as typed, for the record
  std::vector<std::string> candidates;  ///< by name; empty: all, but where `own` is not empty
  std::vector<Candidate> own;           ///< the caller's, judged after those named
  CaseChoice cases;
  std::string out;                    ///< folder of results.jsonl and junit.xml; "" writes nothing
  std::vector<std::string> require;   ///< "cuda", "nccl", "mpi"
  std::int64_t refusals_max = 0;      ///< --allow-unsupported
  bool shrink = true;                 ///< look for the smallest Case that still fails
  int threads = 0;                    ///< of the oracle; 0: all cores
  SamplingRule sampling{4e12, 256};   ///< beyond half a minute of two cores
  std::string transport = "threads";  ///< of rings: threads, mpi, nccl or simulated
  std::string launcher;  ///< mpirun: this command on each rank, for rings; spawn, mpirun, torchrun: workers, for others
  int ranks = 0;  ///< of the launcher; 0: as many as the Cases need
  double deadline_seconds = 60;       ///< of every wait over mpi, nccl or simulated
  WorkerOptions workers;
  std::vector<RingComposition> rings = ring_compositions();  ///< what runs over mpi, by name
  const ProcessJob* job = nullptr;                           ///< whose process 0 this is; null unless over mpi or nccl
};

/// Judges candidates on Cases: progress on stderr, the table on stdout, records in `out`. Ctrl-C ends it
/// after the Case at work, with everything finished kept. Throws InputError before anything is written.
ExitCode run_gate(const GateOptions& options);

}  // namespace ringproof

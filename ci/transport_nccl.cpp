// Unlike MPI, NCCL has no launcher of its own: processes are started by torchrun, mpirun, srun or a shell loop, and
// meet at the address that these tell (distributed/job_place.h).

#include "ci/transport_nccl.h"

#include "reference/spec/error.h"
#ifdef RINGPROOF_WITH_NCCL
#include <fmt/format.h>

#include <cstdio>

#include "distributed/communicator_nccl.h"
#include "distributed/communicator_nccl_library.h"
#include "distributed/remote_ranks.h"
#include "distributed/side_channel.h"
#endif

namespace ringproof {

#ifndef RINGPROOF_WITH_NCCL

std::string nccl_not_here_reason() { return "built without NCCL; install CUDA and libnccl-dev and build again"; }

ExitCode run_gate_over_nccl(GateOptions, const Environment&) { throw Error(nccl_not_here_reason()); }

#else

std::string nccl_not_here_reason() { return nccl_missing_reason(); }

namespace {

// Process 0. However it ends, the others hear of it.
ExitCode judge(const ProcessJob& job, GateOptions options) {
  ExitCode code = ExitCode::kInconclusive;
  try {
    options.job = &job;
    code = run_gate(options);
  } catch (const InputError& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    code = ExitCode::kBadInput;
  } catch (const std::exception& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
  }
  end_service(job);
  return code;
}

}  // namespace

ExitCode run_gate_over_nccl(GateOptions options, const Environment& environment) {
  const std::optional<JobPlace> place = job_place(environment);
  if (!place) {
    throw InputError(
        "--transport nccl runs in a job of one process per GPU; start it by torchrun, mpirun or srun, or set RANK, "
        "WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT");
  }
  const std::chrono::milliseconds deadline(static_cast<std::int64_t>(1000 * options.deadline_seconds));
  NcclJob nccl({place->rank,
                place->rank_count,
                place->local_rank,
                connect_ranks(place->rank, place->rank_count, place->host, place->port, deadline),
                deadline,
                {}});
  const ProcessJob job = process_job(nccl);
  for (const RingComposition& one : device_ring_compositions()) options.rings.push_back(one);
  ExitCode code = ExitCode::kInconclusive;
  try {
    if (place->rank == 0) {
      code = judge(job, std::move(options));
    } else {
      serve_ranks(job, options.rings);
      code = ExitCode::kAccepted;  // what process 0 says counts
    }
    nccl.run([](Communicator&) {});  // the end, for all
  } catch (const std::exception& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    code = ExitCode::kInconclusive;
  }
  std::fflush(nullptr);
  return code;
}

#endif

}  // namespace ringproof

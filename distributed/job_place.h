#pragma once

#include <functional>
#include <optional>
#include <string>

namespace ringproof {

/// Where a launcher has put this process, and where rank 0 is met.
struct JobPlace {
  int rank, rank_count;
  int local_rank;  ///< among the processes of this machine
  std::string host;
  int port;
};

/// A variable of the environment; null where it is not set.
using Environment = std::function<const char*(const char*)>;

/// The place that a launcher's variables name, the first that is there: RANK, WORLD_SIZE, LOCAL_RANK (torchrun, or a
/// shell loop), OMPI_COMM_WORLD_* (mpirun), PMI_* (other MPIs), SLURM_* (srun). Nothing when none is. Rank 0 is met at
/// MASTER_ADDR:MASTER_PORT (under torchrun, whose agent listens there, one port higher), else one port above that of
/// NCCL_COMM_ID (NCCL itself listens there), else, where all processes share a machine, at a port of 127.0.0.1 made of
/// the job's number. Throws InputError naming what is missing or malformed.
std::optional<JobPlace> job_place(const Environment& variable);

}  // namespace ringproof

#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "distributed/communicator.h"

namespace ringproof {

/// Names the variable of the environment that names a folder: a rank ended by SIGTERM leaves its report there too, in
/// rank-N.
inline constexpr const char* kMpiReportsVariable = "RINGPROOF_MPI_REPORTS";

/// This process's place in an MPI job (mpirun, srun): real processes, which end each other's waits by notices and
/// report where they stand. One per process, made before any thread; MPI is called by the thread that made it alone.
///
/// What happens to the job when a rank fails: it tells all others, whose present or next call throws; nothing of the
/// job is used again. A rank that dies makes mpirun send SIGTERM to the others, which then write rank, step, peer and
/// block to stderr and exit with code 3; a rank that stops makes its peers' waits end at their deadline.
class MpiJob {
 public:
  /// Starts MPI. `deadline` bounds every wait but receive() without one.
  explicit MpiJob(std::chrono::milliseconds deadline);
  ~MpiJob();
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;

  /// All processes of the job, as a Communicator of the usual contract.
  Communicator& world();

  /// Runs `body` on the world, as a Launcher does: every process of the job calls it. Returns when all have ended;
  /// throws Error with the cause where one failed. Call at most once.
  void run(const std::function<void(Communicator&)>& body);

  /// A message of any length to a rank, or from one, beside the world's transfers. With `is_patient`, waits as long as
  /// it takes. Throw Error as the world does.
  void send(int rank, std::span<const std::byte> bytes);
  std::vector<std::byte> receive(int rank, bool is_patient);

  /// Tells all ranks that this one has failed, in words; they end.
  void fail(const std::string& sentence);

  /// What failed first, as far as this rank knows; empty while nothing has.
  const std::string& failure() const;

  /// Ends this process's part: MPI_Finalize, or MPI_Abort where the job has failed (code 3 then), which ends all
  /// others.
  int end(int exit_code);

 private:
  class World;
  std::unique_ptr<World> world_;
};

/// Whether a launcher of MPI started this process: its variables are set.
bool is_in_mpi_job();

}  // namespace ringproof

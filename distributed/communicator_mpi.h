#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/errands.h"
#include "distributed/process_job.h"

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
  /// For a simulator of MPI, in which time is no real time: waits block inside MPI, nobody looks for notices, and a job
  /// in which nobody can go on is the simulator's to end. Only the world's transfers and computations may be used.
  static constexpr std::chrono::milliseconds kNoDeadline = std::chrono::milliseconds::max();

  /// Starts MPI. `deadline` bounds every wait.
  explicit MpiJob(std::chrono::milliseconds deadline);
  ~MpiJob();
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;

  /// All processes of the job, as a Communicator of the usual contract.
  Communicator& world();

  /// Runs `body` on the world, as a Launcher does: every process of the job calls it. Returns when all have ended;
  /// throws Error with the cause where one failed. Call at most once.
  void run(const std::function<void(Communicator&)>& body);

  /// A message of any length to a rank, or from one, beside the world's transfers. Throw Error as the world does.
  void send(int rank, std::span<const std::byte> bytes);
  std::vector<std::byte> receive(int rank);

  /// A message from a rank that sends none for as long as its work takes: the deadline runs anew from each of its
  /// beats, and not at all after one that says it is among ranks that watch each other.
  std::vector<std::byte> receive_while_it_beats(int rank);

  /// Tells `ranks` that this process lives. With `is_watched`, others watch it until the next beat.
  void beat(std::span<const int> ranks, bool is_watched);

  /// Runs `work` on a thread of its own, while this one, which made the job, does what on_own_thread() asks for and,
  /// between, beats to all others. Throws what `work` throws.
  void run_beside(const std::function<void()>& work);

  /// Runs `task` on the thread that made the job, and throws what it throws. Called by that thread, or by what
  /// run_beside() runs.
  void on_own_thread(const std::function<void()>& task);

  /// Tells all ranks that this one has failed, in words; they end.
  void fail(const std::string& sentence);

  /// What failed first, as far as this rank knows; empty while nothing has.
  std::string failure();

  /// Ends this process's part: MPI_Finalize, or MPI_Abort where the job has failed (code 3 then), which ends all
  /// others.
  int end(int exit_code);

 private:
  class World;
  std::unique_ptr<World> world_;
  Errands errands_;
  std::thread::id owner_ = std::this_thread::get_id();
};

/// `job`, which outlives it, as a judge uses it.
ProcessJob process_job(MpiJob& job);

/// Whether a launcher of MPI started this process: its variables are set.
bool is_in_mpi_job();

}  // namespace ringproof

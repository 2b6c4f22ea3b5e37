#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "candidates/worker_process.h"

namespace ringproof {

/// Who starts the ranks of a candidate that spans several processes.
struct RankLauncher {
  std::string name;       ///< spawn, mpirun or torchrun
  std::string program;    ///< its path; "" for spawn, which is this process
  std::string ringproof;  ///< the command, whose `rank` stands between a launcher and a worker
};

/// Workers on all ranks of one job, started together. Each finds RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
/// MASTER_ADDR and MASTER_PORT in its environment (a free port of 127.0.0.1; torchrun chooses its own), and what the
/// launcher sets besides. Ends all it started when it goes.
class RankJob {
 public:
  /// Starts `command` on `ranks` ranks. Throws Error where a rank does not come.
  RankJob(const RankLauncher& launcher, const std::vector<std::string>& command, int ranks);
  ~RankJob();
  RankJob(const RankJob&) = delete;
  RankJob& operator=(const RankJob&) = delete;

  int ranks() const { return static_cast<int>(processes_.size()); }

  /// The worker of a rank, once. It is gone before the job is.
  std::unique_ptr<WorkerProcess> take(int rank) { return std::move(processes_.at(static_cast<std::size_t>(rank))); }

 private:
  void spawn(const std::vector<std::string>& command, int ranks);
  void launch(const RankLauncher& launcher, const std::vector<std::string>& command, int ranks);
  void await_ranks(int listening, const std::string& launcher);
  void end_launcher();

  std::vector<std::unique_ptr<WorkerProcess>> processes_;
  pid_t launcher_ = -1;
  std::string folder_;
};

/// Serves as one rank under a launcher: starts `command` (null last) with its socket to the judge at RINGPROOF_RANKS,
/// waits for it, and tells the judge what ended it; ends it when the judge has gone. Returns its exit code.
/// `rank` is that of this process, `variables` what its worker shall find besides.
int serve_rank(int rank, const Variables& variables, char** command);

}  // namespace ringproof

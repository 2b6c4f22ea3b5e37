// The judge's ranks meet, their shards go to files, one smpirun runs all ranks in one process, the answers come back.
//
// The simulator's options: a transfer takes latency + bytes / bandwidth, as the networks are described (model CM02
// without correction factors, TCP windows or traffic of acknowledgements); computing takes what the ranks' program says
// and no more; no send returns before its receive is posted, as over NCCL, which is also what makes 1,024 ranks fast:
// SimGrid 3.32 keeps every send that nobody waits for in a list of its sender, and searches it. Globals are shared by
// the ranks: the program has none that a rank relies on.

#include "distributed/at_scale/at_scale.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "distributed/at_scale/files.h"
#include "distributed/at_scale/step_times.h"
#include "distributed/candidates.h"
#include "distributed/rank_meeting.h"
#include "reference/spec/case.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string path = (fs::temp_directory_path() / "ringproof_at_scale_XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw Error("no folder could be made for the ranks' shards: " + path);
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string path_of_smpirun() {
  const char* const path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const fs::path file = fs::path(rest.substr(0, end)) / "smpirun";
    if (access(file.c_str(), X_OK) == 0) return file;
    rest.erase(0, end + 1);
  }
  return "";
}

// What the job said last, in one line.
std::string last_words(const std::string& log) {
  std::ifstream file(log);
  std::string said, line, of_ours;
  while (std::getline(file, line)) {
    if (line.starts_with("ringproof: ") && of_ours.empty()) of_ours = line.substr(11);
    const bool is_simulator_s = line.find("CRITICAL") != std::string::npos || line.find("eadlock") != std::string::npos;
    if (is_simulator_s && said.empty()) said = line;
  }
  return !of_ours.empty() ? of_ours : !said.empty() ? said : "it says no more";
}

// Runs it to its end, or to the deadline: then all its processes are killed.
void run_job(const std::vector<std::string>& command, const std::string& log, double deadline_seconds) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw Error("smpirun could not be started: no process could be made");
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // smpirun ends its simulation when it is told to
    if (getppid() != parent) _exit(127);
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    execv(argv.front(), argv.data());
    _exit(127);
  }
  setpgid(child, child);
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(deadline_seconds);
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) throw Error("smpirun cannot be waited for");
    if (std::chrono::steady_clock::now() >= until) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      throw Error("the simulation did not end within " + std::to_string(std::lround(deadline_seconds)) + " s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  const std::string how = WIFSIGNALED(status) ? "was ended by signal " + std::to_string(WTERMSIG(status))
                                              : "exited with code " + std::to_string(WEXITSTATUS(status));
  throw Error("the simulation " + how + ": " + last_words(log));
}

void write_inputs(const RunFiles& files, const std::vector<std::optional<RankCall>>& calls) {
  for (std::size_t rank = 0; rank < calls.size(); ++rank) {
    const RankCall& call = *calls[rank];
    const auto write = [&](const char* name, const TensorView& view, const Shape& whole) {
      const Tensor dense(view.dtype, view.shape);
      copy_elements(view, dense.view());
      files.write(name, call.problem, static_cast<int>(rank), whole, dense);
    };
    write("q", call.q, call.problem.shape_q());
    write("k", call.k, call.problem.shape_k());
    write("v", call.v, call.problem.shape_v());
    write("out", call.out, call.problem.shape_out());  // so that an element nobody writes comes back as it was
    const Tensor no_lse = RunFiles::shard(call.problem, static_cast<int>(rank), dtype_of_lse(call.problem.dtype),
                                          call.problem.shape_lse());
    write("lse", call.lse != nullptr ? *call.lse : no_lse.view(), call.problem.shape_lse());
  }
}

Status read_answers(const RunFiles& files, const std::vector<std::optional<RankCall>>& calls,
                    std::vector<RankReport>& reports) {
  Status status = Status::kOk;
  for (std::size_t rank = 0; rank < calls.size(); ++rank) {
    const RankCall& call = *calls[rank];
    const auto read = [&](const char* name, const TensorView& view, const Shape& whole) {
      const Tensor dense(view.dtype, view.shape);
      files.read(name, call.problem, static_cast<int>(rank), whole, dense);
      copy_elements(dense.view(), view);
    };
    SimulatedRank left;
    files.read("reports", &left, sizeof left, static_cast<std::int64_t>(rank * sizeof left));
    if (left.status < 0)
      throw Error("rank " + std::to_string(rank) + " left no report: " + last_words(files.path("log")));
    status = std::max(status, static_cast<Status>(left.status));
    reports[rank] = {left.bytes_sent, left.exchanges, left.memory_bytes_peak, left.pairs};
    read("out", call.out, call.problem.shape_out());
    if (call.lse != nullptr) read("lse", *call.lse, call.problem.shape_lse());
  }
  return status;
}

Status run_calls(const AtScale& how, const std::vector<std::optional<RankCall>>& calls,
                 std::vector<RankReport>& reports, std::vector<double>* times_s) {
  const Problem& problem = calls.front()->problem;
  const auto ranks = static_cast<int>(calls.size());
  const Folder folder;
  const RunFiles files(folder.path());
  write_inputs(files, calls);
  const std::vector<SimulatedRank> nothing(calls.size());
  files.write("reports", nothing.data(), nothing.size() * sizeof nothing[0], 0);
  std::ofstream(files.path("platform.xml")) << how.network.platform(ranks, how.flops);
  std::ofstream hosts(files.path("hosts"));
  for (int rank = 0; rank < ranks; ++rank) hosts << "gpu" << rank << "\n";
  hosts.close();

  std::vector<std::string> command{path_of_smpirun(),          "-np",       std::to_string(ranks), "-platform",
                                   files.path("platform.xml"), "-hostfile", files.path("hosts")};
  for (const std::string& option : simulator_options()) command.push_back(option);
  const Case c{Direction::kForward, problem, {RecipeKind::kGauss, 0, "", 0}, {}};
  command.insert(command.end(), {how.program, folder.path(), to_string(c)});
  run_job(command, files.path("log"), how.deadline_seconds);
  const Status status = read_answers(files, calls, reports);
  if (times_s != nullptr) {
    std::vector<double> all(calls.size() * calls.size());
    files.read("clock", all.data(), all.size() * sizeof(double), 0);
    *times_s = std::move(all);
  }
  return status;
}

}  // namespace

std::vector<std::string> simulator_options() {
  return {"--cfg=smpi/simulate-computation:no",
          "--cfg=smpi/privatization:no",
          "--cfg=smpi/send-is-detached-thresh:0",
          "--cfg=smpi/wtime:0",
          "--cfg=network/model:CM02",
          "--cfg=network/latency-factor:1",
          "--cfg=network/bandwidth-factor:1",
          "--cfg=network/TCP-gamma:0",
          "--cfg=network/weight-S:0",
          "--cfg=network/crosstraffic:0",
          "--cfg=surf/precision:1e-12",
          "--log=root.thresh:critical"};
}

std::string at_scale_not_here_reason(const AtScale& how) {
  if (path_of_smpirun().empty()) return "no SimGrid: there is no smpirun on the path; install libsimgrid-dev";
  if (access(how.program.c_str(), X_OK) != 0) {
    return "no SimGrid when this was built: " + how.program + " is missing; install libsimgrid-dev and build again";
  }
  return "";
}

Candidate at_scale_candidate(const AtScale& how, std::shared_ptr<std::vector<double>> times_s) {
  Candidate candidate;
  for (Candidate& one : distributed_candidates()) {
    if (one.name == "ring:double") candidate = std::move(one);
  }
  const auto reports = std::make_shared<std::vector<RankReport>>();
  candidate.rank_reports = [reports] { return *reports; };
  candidate.on_ranks = [how, reports, times_s](const Topology& topology, const RankBody& body) {
    const int ranks = topology.rank_count;
    if (ranks > how.network.ranks_max) {
      throw InputError("the network " + how.network.name + " has " + std::to_string(how.network.ranks_max) +
                       " GPUs, and " + std::to_string(ranks) + " ranks were asked for");
    }
    reports->assign(static_cast<std::size_t>(ranks), {});
    RankMeeting meeting(ranks, body);
    meeting.serve([&](const std::vector<std::optional<RankCall>>& calls) {
      return run_calls(how, calls, *reports, times_s.get());
    });
  };
  return candidate;
}

}  // namespace ringproof

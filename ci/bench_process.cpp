// Both are programs of their own: the race checker because its kernels are compiled with every access told, a ring over
// MPI because mpirun starts it. What they say of themselves is read from their exit codes and records.

#include "ci/bench_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "ci/exit_codes.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

/// The exit code of `command`, which says nothing here; -1 where it was killed. 127: it could not be started.
int run_quietly(const std::vector<std::string>& command) {
  const pid_t child = fork();
  if (child < 0) throw Error("no process could be made for the benchmark");
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    execv(words[0], words.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Outcome outcome_of(int code) {
  return code == static_cast<int>(ExitCode::kAccepted)   ? Outcome::kAccepted
         : code == static_cast<int>(ExitCode::kRejected) ? Outcome::kRejected
                                                         : Outcome::kInconclusive;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/ringproof_bench_XXXXXX";
    if (mkdtemp(name) == nullptr) throw Error("no folder could be made in /tmp for the benchmark");
    path_ = name;
  }
  ~Folder() {
    std::error_code unknown;
    std::filesystem::remove_all(path_, unknown);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Milliseconds of the candidate's call, from the gate's record; -1 where there is none.
double candidate_ms(const std::filesystem::path& results) {
  std::ifstream file(results);
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_object() && record.contains("candidate_ms")) return record["candidate_ms"].get<double>();
  }
  return -1;
}

}  // namespace

TimedProcess run_timed_process(const Metric& metric) {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string line = to_string(metric.c);
  TimedProcess timed;
  if (metric.part == "race_check") {
    const auto start = std::chrono::steady_clock::now();
    const int code = run_quietly({(self.parent_path() / "ringproof_racecheck").string(), metric.who, "--case", line});
    timed.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    timed.outcome = outcome_of(code);
    timed.reason = "ringproof racecheck ended with " + std::to_string(code);
    return timed;
  }
  const Folder folder;
  const int code = run_quietly({self.string(), "gate", "--candidate", metric.who, "--case", line, "--launcher",
                                "mpirun", "--no-shrink", "--out", folder.path().string()});
  const double ms = candidate_ms(folder.path() / "results.jsonl");
  timed.outcome = ms > 0 ? outcome_of(code) : Outcome::kInconclusive;
  timed.seconds = ms > 0 ? ms / 1e3 : 0;
  timed.reason = ms > 0 ? "ringproof gate --launcher mpirun ended with " + std::to_string(code)
                        : "no rank was run over MPI; see ringproof gate --launcher mpirun --candidate " + metric.who;
  return timed;
}

}  // namespace ringproof

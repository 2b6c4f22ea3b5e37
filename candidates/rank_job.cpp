// Under `spawn` each rank is a child of this process, with its socket inherited. A launcher closes what it does not
// know, so there `ringproof rank` stands on each rank: it connects to a socket in a folder of ours, starts the worker
// with that connection as descriptor 3, and has the last word on it. The launcher ends the other ranks only when
// `ringproof rank` has ended, so what ended a rank is told before its end has consequences.

#include "candidates/rank_job.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "candidates/channel.h"
#include "candidates/messages.h"

namespace ringproof {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kSocketVariable = "RINGPROOF_RANKS";
constexpr auto kStartMax = std::chrono::seconds(60);  // a launcher starts its ranks
constexpr auto kLeaveMax = std::chrono::seconds(1);   // a worker leaves when its judge has
constexpr auto kEndMax = std::chrono::seconds(5);     // a launcher ends when its ranks have

// Nobody else has it at this moment.
int free_port() {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  const bool is_found = listening >= 0 && bind(listening, reinterpret_cast<sockaddr*>(&address), bytes) == 0 &&
                        getsockname(listening, reinterpret_cast<sockaddr*>(&address), &bytes) == 0;
  if (listening >= 0) close(listening);
  if (!is_found) throw Error("no free port of 127.0.0.1 could be found for the ranks to meet at");
  return ntohs(address.sin_port);
}

Variables meeting_place(int ranks) {
  Variables variables{{"WORLD_SIZE", std::to_string(ranks)},
                      {"LOCAL_WORLD_SIZE", std::to_string(ranks)},
                      {"MASTER_ADDR", "127.0.0.1"},
                      {"MASTER_PORT", std::to_string(free_port())}};
  // As torchrun does: ranks that each take all cores stand in each other's way.
  if (std::getenv("OMP_NUM_THREADS") == nullptr && ranks > 1) variables.emplace_back("OMP_NUM_THREADS", "1");
  return variables;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

std::vector<std::string> words_of_launcher(const RankLauncher& launcher, int ranks) {
  const std::string count = std::to_string(ranks);
  if (launcher.name == "mpirun") return {launcher.program, "-n", count};
  return {launcher.program, "--standalone", "--nproc-per-node=" + count, "--no-python"};
}

// What Open MPI asks of more ranks than cores, and of root.
Variables variables_of_launcher(const RankLauncher& launcher, int ranks) {
  if (launcher.name != "mpirun") return {};
  Variables variables = meeting_place(ranks);
  const auto unless_set = [&](const char* name, const char* value) {
    if (std::getenv(name) == nullptr) variables.emplace_back(name, value);
  };
  unless_set("OMPI_MCA_rmaps_base_oversubscribe", "1");
  unless_set("OMPI_MCA_mpi_yield_when_idle", "1");
  unless_set("OMPI_MCA_hwloc_base_binding_policy", "none");
  if (geteuid() == 0) {
    unless_set("OMPI_ALLOW_RUN_AS_ROOT", "1");
    unless_set("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  }
  return variables;
}

bool has_ended(pid_t pid, int& status) { return waitpid(pid, &status, WNOHANG) == pid; }

}  // namespace

RankJob::RankJob(const RankLauncher& launcher, const std::vector<std::string>& command, int ranks) {
  try {
    if (launcher.name == "spawn") {
      spawn(command, ranks);
    } else {
      launch(launcher, command, ranks);
    }
  } catch (...) {
    end_launcher();
    throw;
  }
}

RankJob::~RankJob() { end_launcher(); }

void RankJob::spawn(const std::vector<std::string>& command, int ranks) {
  Variables variables = meeting_place(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    Variables mine = variables;
    mine.emplace_back("RANK", std::to_string(rank));
    mine.emplace_back("LOCAL_RANK", std::to_string(rank));
    processes_.push_back(std::make_unique<WorkerProcess>(command, mine));
  }
}

void RankJob::launch(const RankLauncher& launcher, const std::vector<std::string>& command, int ranks) {
  char folder[] = "/tmp/ringproof_ranks_XXXXXX";
  if (mkdtemp(folder) == nullptr) throw Error("no folder could be made in /tmp for the socket of the ranks");
  folder_ = folder;
  const std::string path = folder_ + "/socket";
  const int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(path);
  if (listening < 0 || bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listening, ranks) != 0) {
    if (listening >= 0) close(listening);
    throw Error(std::string("a socket for the ranks could not be opened: ") + std::strerror(errno));
  }
  std::vector<std::string> words = words_of_launcher(launcher, ranks);
  words.insert(words.end(), {launcher.ringproof, "rank"});
  words.insert(words.end(), command.begin(), command.end());
  Variables variables = variables_of_launcher(launcher, ranks);
  variables.emplace_back(kSocketVariable, path);
  processes_.resize(static_cast<std::size_t>(ranks));
  try {
    launcher_ = start_process(words, variables);
    await_ranks(listening, launcher.name);
  } catch (...) {
    close(listening);
    throw;
  }
  close(listening);
}

void RankJob::await_ranks(int listening, const std::string& launcher) {
  const auto start = Clock::now();
  for (std::size_t come = 0; come < processes_.size();) {
    int status = 0;
    if (has_ended(launcher_, status)) {
      launcher_ = -1;
      throw Error(launcher + " " + what_ended(status) + " before its ranks had started; what it said stands above");
    }
    if (Clock::now() - start > kStartMax) {
      throw Error(launcher + " had started " + std::to_string(come) + " of " + std::to_string(processes_.size()) +
                  " ranks after 60 s");
    }
    pollfd asked{listening, POLLIN, 0};
    if (poll(&asked, 1, 20) <= 0) continue;
    Channel channel(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
    if (!channel.is_open()) continue;
    const std::string hello = channel
                                  .receive([&] {
                                    if (Clock::now() - start > kStartMax) throw Error("a rank did not say its name");
                                  })
                                  .line;
    int rank = -1, pid = -1;
    const bool is_hello = std::sscanf(hello.c_str(), "{\"rank\": %d, \"pid\": %d}", &rank, &pid) == 2;
    if (!is_hello || rank < 0 || rank >= ranks() || processes_[static_cast<std::size_t>(rank)] != nullptr) {
      throw Error(launcher + " has started another rank than one of each of " + std::to_string(ranks()) +
                  ": it says '" + hello + "'");
    }
    processes_[static_cast<std::size_t>(rank)] = std::make_unique<WorkerProcess>(std::move(channel), pid);
    ++come;
  }
}

// Its ranks have lost their judge, end, and it with them.
void RankJob::end_launcher() {
  processes_.clear();
  int status = 0;
  for (const int signal : {0, SIGTERM, SIGKILL}) {
    if (launcher_ < 0) break;
    if (signal != 0) kill(-launcher_, signal);
    const auto start = Clock::now();
    while (launcher_ >= 0 && Clock::now() - start < kEndMax) {
      if (has_ended(launcher_, status)) launcher_ = -1;
      if (launcher_ >= 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  std::error_code gone;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, gone);
  folder_.clear();
}

int serve_rank(int rank, const Variables& variables, char** command) {
  const char* const path = std::getenv(kSocketVariable);
  if (path == nullptr) throw InputError("ringproof rank is started by ringproof gate --launcher");
  const sockaddr_un address = address_of(path);
  const int judge = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (judge < 0 || connect(judge, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw Error(std::string("the judge does not answer at ") + path + ": " + std::strerror(errno));
  }
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  unsetenv(kSocketVariable);
  int held[2];
  if (pipe2(held, O_CLOEXEC) != 0) throw Error("a pipe to the worker could not be made");
  const pid_t parent = getpid(), pid = fork();
  if (pid < 0) throw Error(std::string("a worker process cannot be started: ") + std::strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    char go = 0;
    close(held[1]);
    if (read(held[0], &go, 1) != 1) _exit(1);  // the judge hears of this rank before the worker speaks
    if (judge == kWorkerDescriptor) fcntl(judge, F_SETFD, 0);
    if (judge != kWorkerDescriptor) dup2(judge, kWorkerDescriptor);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    std::signal(SIGPIPE, SIG_DFL);
    execvp(command[0], command);
    _exit(127);
  }
  Channel channel(judge);
  const auto waiting = [] {};
  channel.send("{\"rank\": " + std::to_string(rank) + ", \"pid\": " + std::to_string(pid) + "}", {}, waiting);
  if (write(held[1], "", 1) != 1) kill(pid, SIGKILL);
  close(held[0]);
  close(held[1]);
  int status = 0;
  std::optional<Clock::time_point> alone_since;
  while (!has_ended(pid, status)) {
    pollfd gone{judge, POLLRDHUP, 0};
    if (!alone_since && poll(&gone, 1, 20) > 0) alone_since = Clock::now();
    if (!alone_since) continue;
    if (Clock::now() - *alone_since > kLeaveMax) kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (alone_since) return 0;  // as it was told to
  channel.send(ended_line(what_ended(status)), {}, waiting);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ringproof

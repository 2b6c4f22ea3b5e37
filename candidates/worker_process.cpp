// Whatever runs in the worker may crash, hang or grow; the parent holds the clock, looks at its memory every 20 ms, and
// ends the whole process group. Between fork and exec only what is allowed there is called.

#include "candidates/worker_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "candidates/call_folders.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr int kExitNotStarted = 127;
constexpr auto kLastWordMax = std::chrono::seconds(2);

[[noreturn]] void become(char* const* argv, char* const* environment, int socket, pid_t parent) {
  setpgid(0, 0);  // Ctrl-C is the parent's to answer
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // what it starts stays below it, in whatever group or session
  if (getppid() != parent) _exit(1);
  // dup2 onto itself would leave the descriptor to be closed by exec.
  if (socket == kWorkerDescriptor) socket = dup(socket);
  if (socket >= 0) {
    dup2(socket, kWorkerDescriptor);
  } else {
    dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  }
  dup2(STDERR_FILENO, STDOUT_FILENO);
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGINT, SIG_IGN);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  execvpe(argv[0], argv, environment);
  _exit(kExitNotStarted);
}

std::string name_of_signal(int signal) {
  switch (signal) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGABRT: return "SIGABRT";
    case SIGKILL: return "SIGKILL";
    case SIGTERM: return "SIGTERM";
    default: return "signal " + std::to_string(signal);
  }
}

constexpr const char* kEnded = "{\"ended\": \"";

std::string phrase_of(const std::string& line) {
  const std::size_t begin = std::strlen(kEnded);
  return line.substr(begin, line.rfind('"') - begin);
}

// This process's own, with these in place of those of the same name.
std::vector<std::string> environment_with(const Variables& variables) {
  std::vector<std::string> lines;
  for (char** line = environ; *line != nullptr; ++line) {
    const std::string text = *line;
    const bool is_replaced = std::any_of(variables.begin(), variables.end(),
                                         [&](const auto& one) { return text.starts_with(one.first + "="); });
    if (!is_replaced) lines.push_back(text);
  }
  for (const auto& [name, value] : variables) lines.push_back(name + "=" + value);
  return lines;
}

// kB of a line "Name:   123 kB" of /proc/PID/status.
std::uint64_t bytes_in_line(const std::string& text, const char* name) {
  const std::size_t at = text.find(name);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + std::strlen(name), nullptr, 10) << 10;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code gone;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    std::ifstream file(thread.path() / "children");
    for (pid_t child; file >> child;) children.push_back(child);
  }
  return children;
}

std::vector<pid_t> descendants(pid_t pid) {
  std::vector<pid_t> all = children_of(pid);
  for (std::size_t at = 0; at < all.size(); ++at) {
    for (const pid_t child : children_of(all[at])) all.push_back(child);
  }
  return all;
}

}  // namespace

std::uint64_t resident_bytes(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::stringstream status;
  status << std::ifstream(folder + "/status").rdbuf();
  const std::string text = status.str();
  std::uint64_t bytes = bytes_in_line(text, "\nRssAnon:");
  if (bytes == 0) bytes = bytes_in_line(text, "\nVmRSS:");
  for (const pid_t child : children_of(pid)) bytes += resident_bytes(child);
  return bytes;
}

WorkerProcess::WorkerProcess(const std::vector<std::string>& command, const Variables& variables) {
  auto [ours, theirs] = make_channel();
  pid_ = start_process(command, variables, theirs.descriptor());
  channel_ = std::move(ours);
}

pid_t start_process(const std::vector<std::string>& command, const Variables& variables, int socket) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<std::string> lines = environment_with(variables);
  std::vector<char*> environment;
  for (std::string& line : lines) environment.push_back(line.data());
  environment.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw Error(command.front() + " cannot be started: " + std::strerror(errno));
  if (pid == 0) become(argv.data(), environment.data(), socket, parent);
  setpgid(pid, pid);  // as the child does: whoever comes first
  return pid;
}

void WorkerProcess::end() {
  channel_ = Channel();
  if (pid_ < 0) return;
  kill(-pid_, SIGSTOP);  // or it starts more while they are counted
  const std::vector<pid_t> below = descendants(pid_);
  kill(-pid_, SIGKILL);
  for (const pid_t one : below) kill(one, SIGKILL);
  if (!status_) {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = status;
  }
  remove_call_folders(pid_);
  pid_ = -1;
}

std::string ended_line(const std::string& phrase) { return kEnded + phrase + "\"}"; }

std::string what_ended(int status) {
  if (WIFSIGNALED(status)) return "crashed with " + name_of_signal(WTERMSIG(status));
  return "ended its process with exit code " + std::to_string(WEXITSTATUS(status));
}

// The socket closes a moment before the process can be waited for.
std::string WorkerProcess::what_ended_it() {
  if (pid_watched_ >= 0) return last_word();
  if (pid_ < 0) return "the process that served the calls is gone";
  for (int tries = 0; tries < 200 && !status_; ++tries) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
    if (!status_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (!status_) return "closed its socket";
  return what_ended(*status_);
}

// Whoever waits for the process says it after the process's own last word.
std::string WorkerProcess::last_word() {
  const auto start = std::chrono::steady_clock::now();
  try {
    const std::string line = channel_
                                 .receive([&] {
                                   if (std::chrono::steady_clock::now() - start > kLastWordMax) throw Error("");
                                 })
                                 .line;
    if (line.starts_with(kEnded)) return phrase_of(line);
  } catch (const Error&) {
  }
  return "is gone, with whoever waited for it";
}

std::string WorkerProcess::ask(const std::string& line, std::span<const int> descriptors, const WorkerLimits& limits) {
  const auto start = std::chrono::steady_clock::now();
  const auto waiting = [&] {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!(seconds <= limits.seconds))
      throw WorkerGone("ran for more than " + shortest(limits.seconds) + " s", {}, true);
    if (limits.is_stopped && limits.is_stopped()) throw WorkerGone("was interrupted");
    if (watch_) watch_();
    const pid_t pid = pid_ >= 0 ? pid_ : pid_watched_;
    if (pid < 0) return;
    const std::uint64_t bytes = resident_bytes(pid);
    if (!(bytes <= limits.memory_bytes)) {
      throw WorkerGone("used " + std::to_string(bytes >> 20) + " MiB of memory, more than the limit of " +
                       std::to_string(limits.memory_bytes >> 20) + " MiB");
    }
    int status = 0;
    if (pid_ >= 0 && !status_ && waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = status;
      throw WorkerGone(what_ended_it());  // whoever else holds the socket has nothing to say
    }
  };
  try {
    // A process that ended after its answer: another one may hold its socket, and would answer in its place.
    int status = 0;
    if (pid_ >= 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = status;
      throw WorkerGone(what_ended_it() + " after its last answer");
    }
    Message answer;
    if (channel_.send(line, descriptors, waiting)) answer = channel_.receive(waiting);
    for (const int descriptor : answer.descriptors) close(descriptor);
    Touch place{};
    if (answer.line.starts_with(kEnded)) throw WorkerGone(phrase_of(answer.line));
    if (is_crash(answer.line) && read_crash(answer.line, place)) throw WorkerGone(what_ended_it(), place);
    if (answer.line.empty() || is_crash(answer.line)) throw WorkerGone(what_ended_it());
    return answer.line;
  } catch (const Error&) {
    end();
    throw;
  }
}

}  // namespace ringproof

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "candidates/channel.h"
#include "candidates/messages.h"
#include "reference/spec/error.h"

namespace ringproof {

/// What one question may take: beyond either the worker is ended.
struct WorkerLimits {
  double seconds = 60;                                  ///< of one call
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;  ///< resident, with its children, shared regions left out
  std::function<bool()> is_stopped{};                   ///< asked every 20 ms: whether no answer is wanted any more
};

/// A worker that is gone, with one phrase about what became of it ("crashed with SIGSEGV") and where in a region.
class WorkerGone : public Error {
 public:
  explicit WorkerGone(const std::string& phrase, std::optional<Touch> place = {}, bool is_time_out = false)
      : Error(phrase), place_(place), is_time_out_(is_time_out) {}
  const std::optional<Touch>& place() const { return place_; }
  bool is_time_out() const { return is_time_out_; }

 private:
  std::optional<Touch> place_;
  bool is_time_out_;
};

/// Variables of an environment: name and value.
using Variables = std::vector<std::pair<std::string, std::string>>;

/// Starts a program with arguments (looked up on the path) as leader of a process group, `socket`, unless negative, as
/// its descriptor 3. It is killed when the calling thread ends. Throws Error when it cannot fork.
pid_t start_process(const std::vector<std::string>& command, const Variables& variables, int socket = -1);

/// A process that answers the questions of candidates/protocol.md, started by exec with the socket as descriptor 3; or
/// the far end of a socket that somebody else serves. Ends what it started when it goes.
class WorkerProcess {
 public:
  /// Starts `command` (program and arguments; the program is looked up on the path) with these variables in its
  /// environment. Throws Error when it cannot fork;
  /// a program that is not there is an answer of its first question.
  explicit WorkerProcess(const std::vector<std::string>& command, const Variables& variables = {});

  /// Asks whoever holds the other end of `descriptor`, which is taken over.
  explicit WorkerProcess(int descriptor) : channel_(descriptor) {}

  /// Asks process `pid`, which somebody else has started and waits for: its last line is what ended it, if it is there.
  WorkerProcess(Channel channel, pid_t pid) : channel_(std::move(channel)), pid_watched_(pid) {}

  ~WorkerProcess() { end(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  /// Sends a line with files and waits for its answer. Throws WorkerGone; the process is gone then.
  std::string ask(const std::string& line, std::span<const int> descriptors, const WorkerLimits& limits);

  /// Asked about every 20 ms while an answer is awaited; throws WorkerGone to give up.
  void watch_with(std::function<void()> watch) { watch_ = std::move(watch); }

  bool is_alive() const { return channel_.is_open(); }
  /// Of the process started here; -1 of another.
  pid_t pid() const { return pid_; }

 private:
  void end();
  std::string what_ended_it();
  std::string last_word();

  Channel channel_;
  pid_t pid_ = -1, pid_watched_ = -1;
  std::function<void()> watch_;
  std::optional<int> status_;  // as waitpid gave it
};

/// The line of whoever waits for a worker: `phrase` says what ended it.
std::string ended_line(const std::string& phrase);

/// What ended a process with this status of waitpid: "crashed with SIGSEGV", "ended its process with exit code 1".
std::string what_ended(int status);

/// Resident bytes of a process and of its descendants, without memory that others share; 0 where nothing is known.
std::uint64_t resident_bytes(pid_t pid);

}  // namespace ringproof

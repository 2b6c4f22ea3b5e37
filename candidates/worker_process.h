#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "candidates/channel.h"
#include "candidates/messages.h"
#include "reference/spec/error.h"

namespace ringproof {

/// What one question may take: beyond either the worker is ended.
struct WorkerLimits {
  double seconds = 60;                                  ///< of one call
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;  ///< resident, with its children, shared regions left out
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

/// A process that answers the questions of candidates/protocol.md, started by exec with the socket as descriptor 3; or
/// the far end of a socket that somebody else serves. Ends what it started when it goes.
class WorkerProcess {
 public:
  /// Starts `command` (program and arguments; the program is looked up on the path). Throws Error when it cannot fork;
  /// a program that is not there is an answer of its first question.
  explicit WorkerProcess(const std::vector<std::string>& command);

  /// Asks whoever holds the other end of `descriptor`, which is taken over.
  explicit WorkerProcess(int descriptor) : channel_(descriptor) {}

  ~WorkerProcess() { end(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  /// Sends a line with files and waits for its answer. Throws WorkerGone; the process is gone then.
  std::string ask(const std::string& line, std::span<const int> descriptors, const WorkerLimits& limits);

  bool is_alive() const { return channel_.is_open(); }
  /// Of the process started here; -1 of another.
  pid_t pid() const { return pid_; }

 private:
  void end();
  std::string what_ended_it();

  Channel channel_;
  pid_t pid_ = -1;
  std::optional<int> status_;  // as waitpid gave it
};

/// Resident bytes of a process and of its descendants, without memory that others share; 0 where nothing is known.
std::uint64_t resident_bytes(pid_t pid);

}  // namespace ringproof

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "candidates/worker_process.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// What a worker needs besides its kernel.
struct WorkerSetting {
  std::string ringproof;  ///< path of the command, whose `worker` serves plug-ins and commands
  std::string python;     ///< the interpreter whose ringproof.worker serves Python
  WorkerLimits limits{};
};

/// A Candidate, and what to say beside its verdict.
struct DescribedWorker {
  Candidate candidate;
  std::vector<std::string> notes;  ///< a sentence each: what it converts, what it offers that is not judged
  /// Starts its process anew where that has ended, as the next call would. Throws Error.
  std::function<void()> revive;
  /// Ends its process.
  std::function<void()> stop;
  std::string said;  ///< all it said about itself, to be held to what others of its kind say
};

/// How a worker's process comes to life; null: by the line that worker_command() gives. Throws Error.
using WorkerSource = std::function<std::unique_ptr<WorkerProcess>()>;

/// Program and arguments of the process that serves `name`, the socket being its descriptor 3.
std::vector<std::string> worker_command(const std::string& name, const WorkerSetting& setting);

/// Whether `name` is a way in from outside: a path (with a slash), `cmd:...`, `python:module:callable`, or a library's
/// adapter (`torch:sdpa`).
bool is_worker_name(const std::string& name);

/// The candidate `name` in a process of its own, started now and anew after each end of it; all it says about itself is
/// asked and checked now. Throws InputError with one sentence where the plug-in, its description or the module does not
/// serve; Error where its process ends while it describes itself.
DescribedWorker worker_candidate(const std::string& name, const WorkerSetting& setting,
                                 const WorkerSource& source = {});

/// The candidate that the other end of `descriptor` serves; when that is gone it cannot be started anew.
DescribedWorker worker_candidate(int descriptor, const WorkerSetting& setting);

}  // namespace ringproof

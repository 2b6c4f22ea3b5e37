#pragma once

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
};

/// Whether `name` is a way in from outside: a path (with a slash), `cmd:...`, `python:module:callable`, or a library's
/// adapter (`torch:sdpa`).
bool is_worker_name(const std::string& name);

/// The candidate `name` in a process of its own, started now and anew after each end of it; all it says about itself is
/// asked and checked now. Throws InputError with one sentence where the plug-in, its description or the module does not
/// serve; Error where its process ends while it describes itself.
DescribedWorker worker_candidate(const std::string& name, const WorkerSetting& setting);

/// The candidate that the other end of `descriptor` serves; when that is gone it cannot be started anew.
DescribedWorker worker_candidate(int descriptor, const WorkerSetting& setting);

}  // namespace ringproof

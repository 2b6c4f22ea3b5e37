#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gpu/racecheck/watcher.h"
#include "gpu/simt/runtime.h"

namespace ringproof::racecheck {

/// One thing to do with a kernel: `run` names its memory to the watcher and launches with the options given. It may be
/// called many times.
struct Workload {
  std::string name;
  std::function<void(Watcher&, simt::host::LaunchOptions&)> run;
};

/// What is known of one line that synchronises.
struct SyncCheck {
  SyncLine line;
  bool is_needed;      ///< without it there is a race
  std::string reason;  ///< why it stands there although it is not: what its comment says after "redundant:"
};

struct Check {
  std::vector<std::string> faults;  ///< races, and what the runtime reports: one sentence each
  std::vector<SyncLine> seen;       ///< the synchronisations that were executed
  std::vector<SyncCheck> syncs;     ///< what became of each when dropped; empty when there are faults
  bool is_clean() const;            ///< no fault, and every line is needed or says why not
};

/// Runs `workload` with the line `ignored` (none: file null) ordering nothing. Returns what it finds, one sentence
/// each; the lines that synchronise are added to `seen` unless it is null.
std::vector<std::string> find_races(const Workload& workload, const simt::host::Site& ignored,
                                    std::vector<SyncLine>* seen);

/// Looks for races in every workload.
Check check_races(std::span<const Workload> workloads);

/// The same; if there is none, drops every synchronisation in turn, over the workloads in the order given until one
/// shows a race.
Check check(std::span<const Workload> workloads);

/// What the comment at that line of the sources says after "redundant:"; "" if nothing, or if they are not here.
std::string redundancy_reason(const simt::host::Site& site);

}  // namespace ringproof::racecheck

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/communicator_threads.h"
#include "distributed/happens_before.h"

namespace ringproof {

struct SimulatedOptions {
  std::uint64_t seed;  ///< of the order in which things happen; the same seed gives the same order
  std::chrono::milliseconds deadline = kDeadlineDefault;
};

/// How a simulated run ended.
struct SimulatedReport {
  std::vector<Race> races;  ///< every one, also where the answer came out right
  std::string failure;      ///< what an Error would say; empty: all ranks ended well
};

/// The transport that proves an algorithm's waiting: as on GPUs, computations and transfers are only queued, and happen
/// later, in a random order that `after`, the order of a rank's computations and the meeting of sends with receives
/// allow. A send may end before its receive begins. One thing happens at a time.
///
/// Besides, an analysis of the order that was asked for (happens_before.h) names every two of a rank's computations,
/// sends and receives that touch the same memory, one of them writing, in no order, however the run went. What the rank
/// has not waited for when it withdraws, or ends, is a failure, whether or not it has happened by then.
///
/// Where nobody can go on, the run fails at once, without waiting for the deadline; that bounds waits for a rank that
/// computes for ever. Throws nothing.
SimulatedReport simulate(int rank_count, const SimulatedOptions& options,
                         const std::function<void(Communicator&)>& body);

/// simulate() as a Launcher: races go to `on_race`, a failure is thrown as Error.
Launcher simulated_launcher(const SimulatedOptions& options, const std::function<void(const Race&)>& on_race);

}  // namespace ringproof

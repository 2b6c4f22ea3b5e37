#pragma once

#include <chrono>
#include <functional>

#include "distributed/communicator.h"

namespace ringproof {

inline constexpr std::chrono::milliseconds kDeadlineDefault{60'000};

/// The embedded transport: ranks are threads of this process (one rank: the calling thread). Runs `body` on each and
/// returns when all have ended. The first failure ends the others and is thrown here as Error naming its rank;
/// `deadline` bounds every wait, and where all ranks wait and none can go on, they fail at once. A body that computes
/// for ever is not interrupted: only waits have a deadline.
///
/// A transfer is copied once, by the side that posts last, while the other side may compute. Computations run on the
/// rank's own thread before compute() returns.
void run_on_threads(int rank_count, std::chrono::milliseconds deadline, const std::function<void(Communicator&)>& body);

/// run_on_threads with this deadline, as a Launcher.
Launcher threads_launcher(std::chrono::milliseconds deadline = kDeadlineDefault);

}  // namespace ringproof

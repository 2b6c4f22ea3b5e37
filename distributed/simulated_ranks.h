#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "distributed/communicator.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// A Candidate that starts its ranks by the Launcher it is made with.
using RanksCandidate = std::function<Candidate(const Launcher&)>;

/// The Candidate with its ranks simulated (communicator_simulated.h): every call in a random order of its own, a pure
/// function of the seed and of the number of the call. A race is a fault of structure, so the call is rejected whatever
/// its answer; the first few are named, the rest counted. One rank is simulated too: its queue of computations.
Candidate on_simulated_ranks(const RanksCandidate& make, std::uint64_t seed, std::chrono::milliseconds deadline);

}  // namespace ringproof

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "distributed/at_scale/network.h"
#include "reference/spec/problem.h"

namespace ringproof {

/// What the overlap formula says of a ring in a network, beside the simulated times. All of the whole call, in seconds.
struct StepTimes {
  double simulated_s = 0;               ///< from the first exchange to the end of the last rank
  double low_s = 0, high_s = 0;         ///< what the formula allows
  double computing_s = 0;               ///< of the busiest rank
  double transfer_low_s = 0;            ///< of one block over the slowest way, payload alone
  double tokens_to_hide_transfers = 0;  ///< per rank, from which a block travels within a step, by bandwidth alone
  double steps_held = 0;                ///< pairs of rank and step that were held to the formula
  std::vector<std::string> faults{};    ///< steps outside it: how many, and the first
};

/// Holds the times of all ranks to the overlap formula of step_times.cpp. `times_s` has, for each rank, the times at
/// which it posted exchanges 1, 2, ... and that of its end (rank_count values a rank). Requires a causal or full mask,
/// schedule contiguous, striped or zigzag, at least 2 ranks and shards of equal length.
StepTimes hold_step_times(const Problem& problem, const Network& network, double flops,
                          std::span<const double> times_s);

/// What the simulator adds to every message, for its tag and communicator; a transfer is two messages at most.
inline constexpr std::size_t kSimulatedEnvelopeBytes = 16;

/// By how much an event of a simulation may miss its date: its option surf/precision.
inline constexpr double kSimulatedPrecision_s = 1e-12;

}  // namespace ringproof

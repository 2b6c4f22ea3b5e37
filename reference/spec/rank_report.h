#pragma once

#include <cstdint>
#include <vector>

namespace ringproof {

/// A count of what happened beside what a formula says of it.
struct Tally {
  std::int64_t got = 0, want = 0;
  bool operator==(const Tally&) const = default;
};

/// Where the time of one rank went while it held one block: exposed wait is time inside calls of the transport outside
/// of computations.
struct StepTime {
  std::int32_t step;
  double begin_ms;  ///< from the rank's own start
  double wait_ms, compute_ms, merge_ms, other_ms;
};

/// What one rank of a call did, and what its algorithm says it does.
struct RankReport {
  Tally bytes_sent;         ///< payload, without headers
  Tally exchanges;          ///< groups of transfers posted
  Tally memory_bytes_peak;  ///< of buffers that are exchanged and computed on; the caller's tensors left out
  Tally pairs;              ///< of a query and a key that see each other, over batch and query heads: its share of work
  std::vector<StepTime> steps{};  ///< in order of time; empty where computations run beside the rank's thread
};

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/mask.h"
#include "reference/spec/schedule.h"

namespace ringproof {

/// Local query rows [row_begin, row_begin + row_count) meet local keys [key_begin, key_begin + key_count) of the
/// block held now. Row i and key j of the piece, both counted from 0 within it, see each other iff i + band.lo <= j
/// <= i + band.hi.
struct RingPiece {
  std::int64_t row_begin, row_count, key_begin, key_count;
  Band band;
  bool operator==(const RingPiece&) const = default;
};

/// What one rank does at one step of the ring.
struct RingStep {
  std::int32_t block;             ///< the rank whose keys are held
  std::vector<RingPiece> pieces;  ///< in the order of the local tensors; those in which nothing is visible are left out
};

/// Says which block `rank` holds at `step` in [0, rank_count) and which runs of its rows meet which runs of those
/// keys. Every rank sends to rank + 1, so the block moves on by one rank a step and step 0 is the rank's own.
///
/// A pure function: it moves no data and knows no Communicator. `band` and the lengths are global. The property that
/// matters: over all ranks and steps, every (row, key) the band allows is met exactly once, and no other pair ever.
/// Lengths that do not divide and empty shards are legal; one rank meets all in a single piece under `band` itself.
/// Requires schedule single, contiguous, striped or zigzag.
RingStep ring_step(const Topology& topology, int rank, int step, const Band& band, std::int64_t seqlen_q,
                   std::int64_t seqlen_kv);

using RingPlan = decltype(&ring_step);

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/problem.h"

namespace ringproof {

/// Flags of a block_sparse mask over one piece, in its own indices.
struct PieceBlocks {
  std::int64_t block_q = 0, block_kv = 0;  ///< tile sizes; 0 without block_sparse
  std::vector<std::uint8_t> visible;       ///< row-major over the tiles of the piece
  bool operator==(const PieceBlocks&) const = default;
};

/// Local query rows [row_begin, row_begin + row_count) meet local keys [key_begin, key_begin + key_count) of the
/// block held now. Row i and key j of the piece, both counted from 0 within it, see each other iff i + band.lo <= j
/// <= i + band.hi and, where there are blocks, their tile is visible.
struct RingPiece {
  std::int64_t row_begin, row_count, key_begin, key_count;
  Band band;
  PieceBlocks blocks{};
  bool operator==(const RingPiece&) const = default;
};

/// What one rank does at one step of the ring.
struct RingStep {
  std::int32_t block;             ///< the rank whose keys are held
  std::vector<RingPiece> pieces;  ///< in the order of the local tensors; those in which nothing is visible are left out
};

/// Says which block `rank` holds at `step` in [0, step_count) and which runs of its rows meet which runs of those
/// keys, under the problem's mask: a piece per document, one for every other mask. Every rank sends to rank + 1, so the
/// block moves on by one rank a step and step 0 is the rank's own. With all_gather a rank's rows meet all keys at once.
///
/// A pure function: it moves no data and knows no Communicator. The problem's lengths are global; its own `rank` is
/// not read. The property that matters: over all ranks and steps, every (row, key) the mask allows is met exactly once,
/// and no other pair ever. Lengths that do not divide and empty shards are legal; one rank meets all in a single piece
/// under the band itself. Requires schedule single, contiguous, striped, zigzag or all_gather, no head split, and the
/// flags of a block_sparse mask.
RingStep ring_step(const Problem& problem, int rank, int step);

using RingPlan = decltype(&ring_step);

/// Steps of the ring: its ranks; 1 with all_gather.
inline int step_count(const Topology& topology) {
  return topology.schedule == Schedule::kAllGather ? 1 : topology.rank_count;
}

/// Keys of the block of rank `block`, as it is held: the tokens it owns; all of them with all_gather.
inline std::int64_t held_key_count(const Topology& topology, int block, std::int64_t seqlen_kv) {
  return topology.schedule == Schedule::kAllGather ? seqlen_kv : owned_token_count(topology, block, seqlen_kv);
}

}  // namespace ringproof

#pragma once

#include <cstdint>

#include "distributed/communicator.h"
#include "distributed/merge.h"
#include "distributed/ring_plan.h"
#include "reference/spec/local_step.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// What the ring is made of besides its loop. Passed in, so that an edited copy of any one part can be put in its
/// place.
struct RingParts {
  RingPlan plan = ring_step;
  Merge merge = merge_partial;
};

/// Attention forward of one rank's query rows against the keys of all ranks: the blocks of K and V travel round the
/// ring, rank_count - 1 exchanges, while the local step meets the block held. Collective: every rank calls it, with
/// the same problem but for `rank`, and the same `case_id` (which tells this call's blocks from those of another).
///
/// q, k, v, out and lse are this rank's shards in host memory, storage dtypes, any strides; shards may be empty; lse
/// may be null. Partials are kept in the partial dtype of the local step (fp32 or fp64) and O is rounded to storage
/// once, at the end. Rows that see nothing get O = 0, lse = -inf. With one rank the answer is the local step's own,
/// bit for bit. Payload sent per rank: (bytes of K and V) less those of the block of rank + 1.
///
/// Requires a topology of schedule single, contiguous, striped or zigzag whose rank_count is the communicator's.
/// Throws Error when the transport fails, and what the local step throws.
void ring_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                  const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                  const TensorView& v, const TensorView& out, const TensorView* lse);

using RingForward = decltype(&ring_forward);

}  // namespace ringproof

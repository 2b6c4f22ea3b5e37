#pragma once

#include <cstdint>

#include "distributed/communicator.h"
#include "distributed/head_split_plan.h"
#include "distributed/merge.h"
#include "distributed/ring_plan.h"
#include "reference/spec/local_step.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// What the algorithms are made of besides their loops. Passed in, so that an edited copy of any one part can be put in
/// its place.
struct RingParts {
  RingPlan plan = ring_step;
  Merge merge = merge_partial;
  MergeSink sink = merge_sink;
  HeadSplitPlanner head_split = head_split_plan;
};

/// Attention forward of one rank's query rows against the keys of all ranks: the blocks of K and V travel round the
/// ring, rank_count - 1 exchanges, while the local step meets the block held. Collective: every rank calls it, with
/// the same problem but for `rank`, and the same `case_id` (which tells this call's blocks from those of another).
///
/// q, k, v, out and lse are this rank's shards in host memory, storage dtypes, any strides; shards may be empty; lse
/// may be null. Partials are kept in the partial dtype of the local step (fp32 or fp64) and O is rounded to storage
/// once, at the end. Rows that see nothing get O = 0, lse = -inf, or the logit of a sink. A sink is added once per row:
/// by the local step where the rank meets all keys in one step, else by a merge of its own at the end. With one rank
/// the answer is the local step's own, bit for bit, where the mask is no set of documents.
///
/// Payload sent per rank: (bytes of K and V) less those of the block of rank + 1. Buffers, from
/// communicator.allocate(): two blocks of the largest shard of K and V (none for one rank), and (O, lse) of the local
/// rows in the partial dtype, twice.
///
/// Requires a topology without head split, of schedule single, contiguous, striped or zigzag, whose ranks are the
/// communicator's; or of all_gather on a communicator of one rank, k and v being those of all ranks. Tables of a
/// block_sparse mask are set, and the logits of a sink; where the rank meets all keys in one step, the local step takes
/// a sink.
/// Throws Error when the transport fails, and what the local step throws.
void ring_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                  const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                  const TensorView& v, const TensorView& out, const TensorView* lse);

/// Attention over ranks, by whatever algorithm.
using RanksForward = decltype(&ring_forward);

}  // namespace ringproof

#pragma once

#include "distributed/ring.h"

namespace ringproof {

/// Attention forward by schedule all_gather: every rank gathers K and V of all ranks, in the order of tokens, and
/// computes its own rows in one local step per piece, without a merge between ranks. Same contract as ring_forward.
///
/// Payload sent per rank: (bytes of its own K and V) times (rank_count - 1), in one exchange. Buffers: K and V of all
/// tokens, and (O, lse) of the local rows in the partial dtype, twice.
void all_gather_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                        const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                        const TensorView& v, const TensorView& out, const TensorView* lse);

}  // namespace ringproof

#pragma once

#include "distributed/ring.h"

namespace ringproof {

/// Attention forward by schedule head_split (DeepSpeed Ulysses, arXiv 2309.14509) and by hybrids. The ranks of a group
/// exchange tokens for heads: afterwards each holds some heads of all the group's tokens (head_split_plan.h), computes
/// them, alone or, in a hybrid, in a ring with the ranks of the other groups that hold the same heads, and sends O and
/// lse back, O already rounded to storage. Same contract as ring_forward.
///
/// Two exchanges within the group. A rank sends to every other member its own tokens of that member's heads of Q, K, V,
/// then that member's tokens of its own heads of O and lse; what the ring sends comes on top. Buffers, the most of:
/// gathered Q, K, V and what is sent of them; gathered Q, K, V, O, lse and the ring's; gathered O, lse and what
/// is received of them.
void head_split_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                        const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                        const TensorView& v, const TensorView& out, const TensorView* lse);

}  // namespace ringproof

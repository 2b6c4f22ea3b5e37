#pragma once

#include <vector>

#include "reference/spec/inputs.h"
#include "reference/spec/problem.h"

namespace ringproof {

/// O of a naive attention in the storage dtype, as an eager framework computes it without autocast: K scaled, scores,
/// softcap, softmax with the sink's logit as one score more, and P V each computed in fp32 (fp64 storage: in double)
/// and rounded to storage before the next. Dense, in the order of shape_out(); fp8 storage is descaled to bf16 first.
/// Rows that see nothing are 0.
///
/// What FlashAttention's tests measure its kernels against (attention_ref with upcast=False, reorder_ops=True). Nothing
/// of ours is judged by it.
std::vector<double> eager_baseline(const Problem& problem, const Inputs& inputs);

}  // namespace ringproof

#pragma once

#include "reference/spec/tensor.h"

namespace ringproof {

/// Merges the partial (out_b, lse_b), attention of the same rows over other keys, into the running (out, lse).
///
/// All four in one partial dtype, fp32 or fp64, which is also the arithmetic of the merge; out and out_b of shape
/// [batch, heads, rows, dim], lse and lse_b [batch, heads, rows, 1], host memory, any strides, no overlap. A side
/// whose lse is -inf holds no key: the other side is taken over bit for bit. NaN on a side that holds keys
/// propagates. No lse, however large, overflows.
void merge_partial(const TensorView& out, const TensorView& lse, const TensorView& out_b, const TensorView& lse_b);

/// Merges a sink: of every row of head h, a key of logit sink[h] and value 0. A row that holds no key keeps its O and
/// gets lse = the logit. Else as merge_partial().
void merge_sink(const TensorView& out, const TensorView& lse, const float* sink);

using Merge = decltype(&merge_partial);
using MergeSink = decltype(&merge_sink);

}  // namespace ringproof

#pragma once

#include "reference/spec/local_step.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Attention of one block of rows against one block of keys under a band and blocks, computed in double: the plain
/// online-free two-pass formula. Writes O and lse (through their own dtypes and strides) for every row; a row
/// that sees no key gets O = 0, lse = -inf, or the logit of its head's sink. q, k, v in any storage dtype, host memory.
void partial_attention(const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                       const TensorView& out, const TensorView& lse);

/// Merges the partial (out_b, lse_b) over other keys into (out, lse), in double. Only judges: code under test
/// has its own merge. -inf on either side leaves the other; both -inf stay empty. All tensors of equal shape,
/// fp64.
void merge_partials(const TensorView& out, const TensorView& lse, const TensorView& out_b, const TensorView& lse_b);

}  // namespace ringproof

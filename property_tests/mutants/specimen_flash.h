#pragma once

#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Flash attention forward on one thread, written to be read and to be broken: most mutants are one edit of its
/// source. Storage fp32, fp16 or bf16; masks full, causal and window; P is cast to the storage dtype, all sums
/// are fp32: the default Arithmetic. Any strides, host memory. Rows that see nothing get O = 0, lse = -inf.
void specimen_flash_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                            const TensorView& out, const TensorView& lse);

}  // namespace ringproof

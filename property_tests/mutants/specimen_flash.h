#pragma once

#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// The factor P carries into its cast to e4m3, declared for fp8 storage.
inline constexpr float kPScaleOfFp8 = 256;

/// Flash attention forward on one thread, written to be read and to be broken: most mutants are one edit of its
/// source. Storage fp32, fp16, bf16 or fp8; every mask, softcap and sink; P is cast to the storage dtype (fp8: to
/// e4m3, times kPScaleOfFp8), all sums are fp32: the default Arithmetic. Any strides, host memory. Rows that see
/// nothing get O = 0, lse = -inf or the sink's logit.
void specimen_flash_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                            const TensorView& out, const TensorView& lse);

}  // namespace ringproof

#pragma once

#include "reference/oracle/attention_forward.h"

namespace ringproof {

/// The answer of attention_forward (O, lse, row statistics) at the speed of the machine: double arithmetic on
/// vectors, plain sums instead of compensated ones. For judging many candidates on long Cases; the plain oracle
/// judges it, and judge/bound_fast_oracle.h states how far its O and lse may lie from the exact answer.
///
/// q, k, v in storage dtype, any strides, host memory. Requires what attention_forward requires. Bits do not depend
/// on `threads`; they may differ between instruction sets. fp64, fp8, softcap, sink, document, block_sparse and an
/// infinity or a NaN go to attention_forward.
///
/// Statistics of fp32, fp16 and bf16 storage are upper bounds of the exact ones rather than rounded values of them:
///   - sums with positive terms and maxima are raised by raise_of_row() and by what single precision may lose below its
///     normal range, 2^-123 n in units of the largest value of the head (and its square);
///   - gaps are raised by twice what a score may be wrong by, rises count with a near tie widened by 2^-20;
///   - p_variance = sum p (v - c)^2 - (O - c)^2, c the column's mean over the head, its parts rounded up and down;
///   - exact: visible_count, max_abs_v; rounded to nearest: sum_abs_v, abs_sum_max;
///   - either side: score_max and lse (by the error of a score), p2_v (by (raise - 1) sum p^2 |v|).
ForwardAnswer fast_attention_forward(const Problem& problem, const TensorView& q, const TensorView& k,
                                     const TensorView& v, int threads);

/// Keys whose products are summed on their own before they join the row's sum.
inline constexpr std::int64_t kKeysPerBlock = 64;

/// Roundings on the way of one term into a sum over `visible_count` keys, its product included.
inline std::int64_t fast_sum_depth(std::int64_t visible_count) {
  const std::int64_t in_block = visible_count < kKeysPerBlock ? visible_count : kKeysPerBlock;
  return in_block + (visible_count + kKeysPerBlock - 1) / kKeysPerBlock +
         2;  // ragged blocks at either end; the product
}

/// Largest relative error of one softmax weight, common to numerator and denominator (bound_fast_oracle.h derives it).
double fast_weight_error_max(const Problem& problem, double d_max, double gap_max);

/// The factor that the statistics of a row are raised by.
double raise_of_row(const Problem& problem, const RowScalars& row);

}  // namespace ringproof

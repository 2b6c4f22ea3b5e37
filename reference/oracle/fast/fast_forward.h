#pragma once

#include "reference/oracle/attention_forward.h"

namespace ringproof {

/// The answer of attention_forward (O, lse, row statistics) at the speed of the machine: double arithmetic on
/// vectors, plain sums instead of compensated ones. For judging many candidates on long Cases; the plain oracle
/// judges it, and judge/bound_fast_oracle.h states how far its O and lse may lie from the exact answer.
///
/// q, k, v in storage dtype, any strides, host memory. Requires what attention_forward requires. Bits do not depend
/// on `threads`; they may differ between instruction sets. What fast_oracle_serves refuses and inputs with an infinity
/// or a NaN go to attention_forward.
///
/// Statistics are upper bounds of the exact ones rather than rounded values of them:
///   - sums with positive terms and maxima are raised by raise_of_row() at the answer's statistics_roundoff (2^-24, or
///     2^-8 where the processor multiplies pairs of bf16) and by what single precision may lose below its normal range,
///     2^-123 n in units of the largest value of the head (and its square);
///   - D is that of magnitudes raised to 2^-60 of the head's and the panel's largest;
///   - gaps are raised by twice what a score may be wrong by;
///   - rises count with a near tie widened by (3 / 4) / (head_dim_qk + 2), scores being kept in single precision;
///     rises_any_split, beyond kWholeKeys keys, by up to kThinnedKeys more; rows whose keys span several segments of
///     kSegmentBlocks blocks take the largest D of the head there, and may count all rises of a segment that has some;
///   - p_variance from sum p (v - c)^2, c the column's mean over the head, and O, its parts rounded up and down, or
///     from 1 - p_max and max |v| where that is less (panel_forward.cpp);
///   - exact: visible_count, max_abs_v; rounded to nearest: sum_abs_v, abs_sum_max;
///   - either side: score_max and lse (by the error of a score), p2_v (by (raise - 1) sum p^2 |v|).
ForwardAnswer fast_attention_forward(const Problem& problem, const TensorView& q, const TensorView& k,
                                     const TensorView& v, int threads);

/// The same of `rows` alone, as attention_forward_of_rows. Without statistics O and lse alone, in about half the time:
/// rows hold visible_count, score_max, lse and what belongs to a sink; statistics of elements are empty.
ForwardAnswer fast_attention_forward_of(const Problem& problem, const TensorView& q, const TensorView& k,
                                        const TensorView& v, const std::vector<std::int64_t>& rows,
                                        bool with_statistics, int threads);

/// Whether the fast oracle answers this Problem itself: all but fp64 storage. Else it hands over to the plain oracle,
/// as it does for inputs (the sink among them) with an infinity or a NaN.
bool fast_oracle_serves(const Problem& problem);

}  // namespace ringproof

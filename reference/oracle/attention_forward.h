#pragma once

#include <vector>

#include "reference/oracle/row_statistics.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Numbers wider than a double: value[i] + tail[i], unevaluated. The tail is at most half an ulp of the
/// value, and empty where every tail is 0 (storage narrower than fp64).
struct WideValues {
  std::vector<double> value, tail;
  double tail_at(std::size_t index) const { return tail.empty() ? 0.0 : tail[index]; }
};

/// The oracle's answer: O, lse and the row statistics that bounds are evaluated from. Dense, in the order of
/// shape_out() and shape_lse(). Empty rows hold O = 0, lse = -inf.
struct ForwardAnswer {
  WideValues out, lse;
  RowStatistics statistics;
  double unit_roundoff;  ///< of the arithmetic the oracle used: 2^-53, 2^-64 for long double
};

/// Attention in double with compensated sums (long double for fp64 storage), for reading and for judging;
/// threads share the (batch, head, row) tiles. q, k, v in storage dtype, any strides, host memory. Requires a
/// Problem that passed validate() and require_built(); topology only says within which shards the rises of
/// the maximum are counted.
ForwardAnswer attention_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                int threads);

}  // namespace ringproof

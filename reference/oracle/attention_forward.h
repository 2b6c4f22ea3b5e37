#pragma once

#include <cstdint>
#include <vector>

#include "reference/oracle/forward_answer.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Attention in double with compensated sums (long double for fp64 storage), for reading and for judging;
/// threads share the (batch, head, row) tiles. q, k, v in storage dtype, any strides, host memory. Requires a
/// Problem that passed validate() and require_built(), its sink pointer set (with_data); topology only says within
/// which shards the rises of the maximum are counted.
ForwardAnswer attention_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                int threads);

/// The same of `rows` alone: linear in [batch, heads_q, seqlen_q], ascending, each once. Every number is that of the
/// whole answer, bit for bit.
ForwardAnswer attention_forward_of_rows(const Problem& problem, const TensorView& q, const TensorView& k,
                                        const TensorView& v, const std::vector<std::int64_t>& rows, int threads);

}  // namespace ringproof

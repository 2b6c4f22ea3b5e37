#pragma once

#include "reference/spec/dtype.h"
#include "reference/spec/problem.h"
#include "reference/spec/rank_report.h"

namespace ringproof {

/// What the rank problem.rank of attention over ranks sends, allocates and computes, from the sizes alone: `want` of
/// every tally. With s = batch heads_kv (d_qk + d_v) bytes of a token's K and V and n keys in P blocks:
///   ring        sends s (n - block of rank + 1) in P - 1 exchanges; holds two of the largest blocks and its partials
///   all_gather  sends s (own block) (P - 1) in one exchange; holds s n and its partials
///   head_split  sends the other members' heads of its own tokens and its own heads of their answers; one exchange each
///               way, and between them what its ring does with its share of the heads
/// Partials are (O, lse) of its rows twice, in `partial`, the partial dtype of the local step. Work is the pairs that
/// the mask lets its rows see, over batch and query heads.
RankReport traffic_formula(const Problem& problem, Dtype partial);

}  // namespace ringproof

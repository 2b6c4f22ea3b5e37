#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace ringproof {

/// What a row's error bounds depend on, whoever is judged: one oracle pass serves every candidate of a Case.
/// p_j are the row's softmax weights (a sink is in their denominator), S_j its scores after softcap, D_j = |q|.|k_j|
/// (no scale; q, k and v times their descale factors), gap_j = M - S_j, sums over the row's visible keys, without the
/// sink.
struct RowScalars {
  std::int64_t visible_count = 0;                          ///< n
  double score_max = 0;                                    ///< M, the sink included; -inf for an empty row without one
  double lse = 0;                                          ///< L, the sink included; -inf for an empty row without one
  double p_max = 0;                                        ///< exp(M - L): the largest p_j, or the sink's
  double sum_p_squared = 0;                                ///< sum p_j^2
  double mean_d = 0, mean_d_squared = 0, d_max = 0;        ///< sum p D, sum p D^2, max D
  double sink = -std::numeric_limits<double>::infinity();  ///< the sink's logit
  double p_sink = 0;                                       ///< exp(sink - L)
  double sink_gap = 0;                                     ///< |sink - largest score|; 0 where no key is visible
  double lse_keys = 0;                                     ///< ln sum_j exp(S_j), the sink left out
  double abs_sum_max = 0;  ///< sum |q| + max over visible keys of sum |k|, for flushed subnormals
  double mean_gap = 0, mean_gap_squared = 0, gap_max = 0;  ///< sum p gap, sum p gap^2, max gap
  /// Rises of the running maximum, key by key (rises.h): the larger of ascending and descending order, within each
  /// shard of the topology and each of its runs of tokens, the largest taken. The first key of a run is no rise.
  std::int64_t rises = 0;
  /// Longest chain of next-greater keys in either order, within a shard: the most rises any contiguous split
  /// can see.
  std::int64_t rises_any_split = 0;
  std::int64_t visible_ranges = 1;  ///< ranges without holes that the visible keys fill; more only under block_sparse
};

/// Sums are rounded to nearest double; bounds account for it by their rounding-up factor.
struct RowStatistics {
  std::vector<RowScalars> rows;  ///< [batch, heads_q, seqlen_q]
  // Per element of O, [batch, heads_q, seqlen_q, head_dim_v]:
  std::vector<double> p_abs_v;     ///< sum p |v|
  std::vector<double> p_variance;  ///< sum p (v - O)^2
  std::vector<double> p2_v2;       ///< sum p^2 v^2
  std::vector<double> p2_v;        ///< sum p^2 v
  std::vector<double> sum_abs_v;   ///< sum over visible keys of |v|
  std::vector<double> max_abs_v;   ///< max over visible keys of |v|
};

}  // namespace ringproof

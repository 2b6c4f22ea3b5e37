// A sum of N positive terms, each rounded by s on its way: what was computed is at least (1 - s)^N of it, and
// (1 - s)^-N <= exp(1.01 N s). A product of two numbers rounded by e is at least (1 - e)^2 of itself. Weights are wrong
// by 2 A (A = fast_weight_error_max), their squares by 4 A.

#include "reference/oracle/fast_rounding.h"

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

constexpr double kUnit = 0x1p-53;

double squared(double x) { return x * x; }

std::int64_t blocks_of_keys(const Problem& problem) {
  return (problem.seqlen_kv + kFastBlockKeys - 1) / kFastBlockKeys;
}

}  // namespace

std::int64_t fast_sum_depth(const Problem& problem, std::int64_t visible_count) {
  const std::int64_t blocks = std::min(visible_count, blocks_of_keys(problem));
  return std::min(visible_count, kFastBlockKeys) + 2 * blocks + 2 * kFastPartsMax + 5;
}

std::int64_t fast_rescales(const Problem& problem, const RowScalars& row) {
  const std::int64_t blocks = std::min(row.visible_count, blocks_of_keys(problem)) + 1 + (problem.has_sink ? 1 : 0);
  // One rank's rises are those of the whole row; a part may start anew, and is merged once.
  const bool is_counted = problem.topology.rank_count == 1 && blocks <= kFastSegmentBlocks;
  return is_counted ? std::min(blocks, row.rises + 1 + (problem.has_sink ? 1 : 0)) : blocks;
}

double fast_weight_error_max(const Problem& problem, const RowScalars& row) {
  const double scores = static_cast<double>(problem.head_dim_qk + 1) * std::fabs(problem.softmax_scale) * row.d_max;
  const double gaps = 3 * std::min(row.gap_max, 1000.0);  // farther keys have weight 0
  return 1.01 * kUnit *
         (scores + kFastCapUlps * problem.softcap + gaps + 4 * static_cast<double>(fast_rescales(problem, row) + 1));
}

double raise_of_sum(std::int64_t terms, double roundoff) {
  const bool is_pairs = roundoff > 0x1p-24;
  // Single precision rounds operands too, a few of the terms; sums of pairs are allowed to round to either side.
  const double products = is_pairs ? 1 / squared(1 - roundoff) : 1;
  return products * std::exp(1.01 * static_cast<double>(terms) * (is_pairs ? 0x1p-23 : std::min(roundoff, 0x1p-24)));
}

double raise_of_row(const Problem& problem, const RowScalars& row, double roundoff) {
  const std::int64_t terms = problem.head_dim_qk + fast_sum_depth(problem, row.visible_count) + 16;
  return raise_of_sum(terms, roundoff) * (1 + 4.04 * fast_weight_error_max(problem, row));
}

}  // namespace ringproof

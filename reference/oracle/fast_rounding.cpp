#include "reference/oracle/fast_rounding.h"

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

constexpr double kUnit = 0x1p-53;

std::int64_t blocks_of_keys(const Problem& problem) {
  return (problem.seqlen_kv + kFastBlockKeys - 1) / kFastBlockKeys;
}

}  // namespace

std::int64_t fast_sum_depth(const Problem& problem, std::int64_t visible_count) {
  const std::int64_t blocks = std::min(visible_count, blocks_of_keys(problem));
  return std::min(visible_count, kFastBlockKeys) + 2 * blocks + 2 * kFastPartsMax + 3;
}

std::int64_t fast_rescales(const Problem& problem, const RowScalars& row) {
  const std::int64_t blocks = std::min(row.visible_count, blocks_of_keys(problem)) + 1;
  // One rank's rises are those of the whole row; a part may start anew, and is merged once.
  const bool is_counted = problem.topology.rank_count == 1 && blocks <= kFastSegmentBlocks;
  return is_counted ? std::min(blocks, row.rises + 1) : blocks;
}

double fast_weight_error_max(const Problem& problem, const RowScalars& row) {
  const double scores = static_cast<double>(problem.head_dim_qk + 1) * std::fabs(problem.softmax_scale) * row.d_max;
  const double gaps = 3 * std::min(row.gap_max, 1000.0);  // farther keys have weight 0
  return 1.01 * kUnit * (scores + gaps + 4 * static_cast<double>(fast_rescales(problem, row) + 1));
}

double raise_of_row(const Problem& problem, const RowScalars& row) {
  const auto roundings = static_cast<double>(problem.head_dim_qk + fast_sum_depth(problem, row.visible_count) + 16);
  return 1 + roundings * 0x1p-24 + 4.04 * fast_weight_error_max(problem, row);
}

}  // namespace ringproof

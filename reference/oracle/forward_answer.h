#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "reference/oracle/row_statistics.h"
#include "reference/spec/problem.h"

namespace ringproof {

/// Numbers wider than a double: value[i] + tail[i], unevaluated. The tail is at most half an ulp of the
/// value, and empty where every tail is 0 (storage narrower than fp64).
struct WideValues {
  std::vector<double> value, tail;
  double tail_at(std::size_t index) const { return tail.empty() ? 0.0 : tail[index]; }
};

/// The oracle's answer: O, lse and the row statistics that bounds are evaluated from, of every row in the order of
/// shape_out() and shape_lse(), or of some rows in the same order. Empty rows hold O = 0, lse = -inf or
/// the sink's logit.
struct ForwardAnswer {
  WideValues out, lse;
  WideValues lse_keys;  ///< lse with the sink left out; empty where there is no sink
  RowStatistics statistics;
  double unit_roundoff;  ///< of the arithmetic the oracle used: 2^-53, 2^-64 for long double
  std::vector<std::int64_t>
      rows{};            ///< which rows it holds, linear in [batch, heads_q, seqlen_q], ascending; empty: all
  bool is_fast = false;  ///< made by oracle/fast: its error is another, its statistics are upper bounds
  double statistics_roundoff = 0x1p-53;  ///< of the numbers that the statistics' sums are made of

  /// The row of the Problem that row `index` of this answer is.
  std::int64_t row_at(std::size_t index) const { return rows.empty() ? static_cast<std::int64_t>(index) : rows[index]; }
  std::size_t row_count() const { return lse.value.size(); }
};

/// An answer of zeros with room for `rows` (empty: all rows); `is_wide` gives it tails. Without statistics those of
/// elements have no room.
ForwardAnswer empty_answer(const Problem& problem, const std::vector<std::int64_t>& rows, bool is_wide,
                           bool with_statistics = true);

/// The rows of `answer` at `indices` (ascending) alone.
ForwardAnswer taken_rows(const ForwardAnswer& answer, const Problem& problem, const std::vector<std::int64_t>& indices);

/// Which rows [first, last) of `answer` lie in rows [begin, end) of its Problem.
std::pair<std::int64_t, std::int64_t> rows_between(const ForwardAnswer& answer, std::int64_t begin, std::int64_t end);

}  // namespace ringproof

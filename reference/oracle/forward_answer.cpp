#include "reference/oracle/forward_answer.h"

#include <algorithm>
#include <functional>

#include "reference/spec/error.h"

namespace ringproof {

ForwardAnswer empty_answer(const Problem& problem, const std::vector<std::int64_t>& rows, bool is_wide,
                           bool with_statistics) {
  const bool ascends = std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<>()) == rows.end();
  const std::int64_t row_count = element_count(problem.shape_lse());
  assert_that(ascends && (rows.empty() || (rows.front() >= 0 && rows.back() < row_count)),
              "rows ascend within the problem, each once");
  const auto count = rows.empty() ? static_cast<std::size_t>(row_count) : rows.size();
  const auto zeros = [](std::size_t number) { return std::vector<double>(number); };
  const std::size_t elements = count * static_cast<std::size_t>(problem.head_dim_v);
  const std::size_t of_statistics = with_statistics ? elements : 0;
  ForwardAnswer answer;
  answer.out = {zeros(elements), zeros(is_wide ? elements : 0)};
  answer.lse = {zeros(count), zeros(is_wide ? count : 0)};
  if (problem.has_sink) answer.lse_keys = answer.lse;
  answer.statistics = {std::vector<RowScalars>(count), zeros(of_statistics), zeros(of_statistics), zeros(of_statistics),
                       zeros(of_statistics),           zeros(of_statistics), zeros(of_statistics)};
  answer.unit_roundoff = 0x1p-53;
  answer.rows = rows;
  return answer;
}

ForwardAnswer taken_rows(const ForwardAnswer& answer, const Problem& problem,
                         const std::vector<std::int64_t>& indices) {
  if (indices.size() == answer.row_count()) return answer;
  const auto take = [&](const auto& values, std::size_t width) {
    auto taken = values;
    taken.clear();
    for (const std::int64_t index : indices) {
      const auto from = values.begin() + index * static_cast<std::int64_t>(width);
      if (!values.empty()) taken.insert(taken.end(), from, from + static_cast<std::int64_t>(width));
    }
    return taken;
  };
  const auto columns = static_cast<std::size_t>(problem.head_dim_v);
  const RowStatistics& s = answer.statistics;
  ForwardAnswer part{{take(answer.out.value, columns), take(answer.out.tail, columns)},
                     {take(answer.lse.value, 1), take(answer.lse.tail, 1)},
                     {take(answer.lse_keys.value, 1), take(answer.lse_keys.tail, 1)},
                     {take(s.rows, 1), take(s.p_abs_v, columns), take(s.p_variance, columns), take(s.p2_v2, columns),
                      take(s.p2_v, columns), take(s.sum_abs_v, columns), take(s.max_abs_v, columns)},
                     answer.unit_roundoff};
  part.is_fast = answer.is_fast;
  part.statistics_roundoff = answer.statistics_roundoff;
  for (const std::int64_t index : indices) part.rows.push_back(answer.row_at(static_cast<std::size_t>(index)));
  return part;
}

std::pair<std::int64_t, std::int64_t> rows_between(const ForwardAnswer& answer, std::int64_t begin, std::int64_t end) {
  if (answer.rows.empty()) return {begin, end};
  const auto at = [&](std::int64_t row) {
    return std::lower_bound(answer.rows.begin(), answer.rows.end(), row) - answer.rows.begin();
  };
  return {at(begin), at(end)};
}

}  // namespace ringproof

// With independent values O shrinks as 1 / sqrt(n), while the bound of a cast of P without scale does not: what P loses
// below the normal range of its format comes in units of the largest weight. Where the bound passes O, zeros are as
// acceptable as the answer, and only a control says so. Rows that see nothing are left out: there zeros are right.

#include "reference/judge/zero_control.h"

#include <cmath>

#include "reference/judge/residual.h"

namespace ringproof {

ZeroControl zero_control(const Reference& reference, const Arithmetic& arithmetic) {
  return zero_control(reference, bound_forward(reference.c, arithmetic, reference.want), {});
}

ZeroControl zero_control(const Reference& reference, const Bounds& bounds, const std::vector<bool>& rows_left_out) {
  const ForwardAnswer& want = reference.want;
  const auto columns = static_cast<std::size_t>(reference.c.problem.head_dim_v);
  const Dtype out = dtype_of_out(reference.c.problem.dtype);
  ZeroControl control;
  for (std::size_t at = 0; at < want.out.value.size(); ++at) {
    const std::size_t row = at / columns;
    const bool is_left_out = !rows_left_out.empty() && rows_left_out[static_cast<std::size_t>(want.row_at(row))];
    if (is_left_out || want.statistics.rows[row].visible_count == 0) continue;
    if (!promises_something(reference, at, bounds.out[at])) continue;
    const double error = std::fabs(residual(out, want.out.value[at], want.out.tail_at(at), 0, bounds.out[at]));
    ++control.judged;
    control.inside += error <= bounds.out[at];
  }
  return control;
}

ZeroControl merged(const ZeroControl& one, const ZeroControl& other) {
  return {one.judged + other.judged, one.inside + other.inside};
}

}  // namespace ringproof

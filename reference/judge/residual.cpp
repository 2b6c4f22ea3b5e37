// sigma^2 = (r u_P)^2 sum p^2 v^2  +  ulp(O)^2 / 12  +  (u / 2)^2 sum p v^2  +  (omega_P p_max)^2 / 3 max |v| sum |v|
//
// r = 1 / sqrt(8 ln 2) = 0.4247: root mean square of a rounding's relative error, in units of the unit roundoff, over a
// significand whose logarithm is uniform. Where l sums the cast P its roundings act on v - O instead of v. The last
// term is what P loses below the normal range of its format (sum v^2 <= max |v| sum |v|); only fp8 feels it.

#include "reference/judge/residual.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <set>

namespace ringproof {
namespace {

const double kRmsOfRounding = 1 / std::sqrt(8 * std::log(2.0));

// The least magnitude that rounds to infinity: the largest finite number and half its ulp.
double overflow_begins_at(Dtype format) {
  const double largest = format_facts(format).finite_max;
  return largest + half_ulp(format, largest);
}

double squared(double x) { return x * x; }

// Rows of equal weights agree in all of these, to the bit.
using Weights = std::array<std::uint64_t, 4>;
Weights weights_of(const RowScalars& row) {
  return {static_cast<std::uint64_t>(row.visible_count), std::bit_cast<std::uint64_t>(row.p_max),
          std::bit_cast<std::uint64_t>(row.sum_p_squared), std::bit_cast<std::uint64_t>(row.mean_gap)};
}

}  // namespace

double residual(Dtype format, double want, double tail, double got, double bound) {
  if (want == got && tail == 0) return 0;
  const bool may_overflow = std::isinf(got) && std::signbit(got) == std::signbit(want) && std::isfinite(want) &&
                            overflow_begins_at(format) <= std::fabs(want) + bound;
  return may_overflow ? 0 : (got - want) - tail;
}

double sigma_squared(const Problem& problem, const Arithmetic& a, const ForwardAnswer& want, std::size_t row,
                     std::size_t at) {
  const RowStatistics& s = want.statistics;
  const RowScalars& scalars = s.rows[row];
  const double out = want.out.value[at], u = format_facts(a.accumulator_dtype).unit_roundoff;
  const CastErrors cast = cast_of_p(a);
  const double about_out = std::max(0.0, s.p2_v2[at] - 2 * out * s.p2_v[at] + squared(out) * scalars.sum_p_squared);
  const double of_cast = squared(kRmsOfRounding * cast.relative) * (a.l_sums_cast_p ? about_out : s.p2_v2[at]);
  const double of_out = squared(half_ulp(dtype_of_out(problem.dtype), out)) / 3;
  const double of_sums = squared(u / 2) * (s.p_variance[at] + squared(out));
  const double of_flushed = squared(cast.absolute * scalars.p_max) / 3 * s.max_abs_v[at] * s.sum_abs_v[at];
  return of_cast + of_out + of_sums + of_flushed;
}

std::vector<std::size_t> rows_drawn_apart(const Reference& reference, const Bounds& bounds) {
  const ForwardAnswer& want = reference.want;
  const Problem& problem = reference.c.problem;
  const auto columns = static_cast<std::size_t>(problem.head_dim_v);
  const Dtype out = dtype_of_out(problem.dtype);
  std::set<Weights> seen;
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& scalars = want.statistics.rows[row];
    if (scalars.visible_count < 2) continue;
    bool is_promised = true;
    for (std::size_t at = row * columns; at < (row + 1) * columns; ++at) {
      is_promised = is_promised && promises_something(bounds.out[at], want.statistics.max_abs_v[at], out);
    }
    if (is_promised && seen.insert(weights_of(scalars)).second) rows.push_back(row);
  }
  return rows;
}

std::array<std::int64_t, 3> place_of(const Reference& reference, std::size_t row) {
  const Problem& problem = reference.c.problem;
  const std::int64_t linear = reference.want.row_at(row);
  const std::int64_t of_head = linear / problem.seqlen_q;
  return {of_head / problem.heads_q, of_head % problem.heads_q, linear % problem.seqlen_q};
}

bool promises_something(double bound, double largest_value, Dtype format) {
  const double least_normal = std::ldexp(1.0, format_facts(format).exponent_min);
  return std::max(largest_value, least_normal) >= bound;
}

}  // namespace ringproof

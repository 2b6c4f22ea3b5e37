// sigma^2 = (r u_P)^2 sum p^2 v^2  +  ulp(O)^2 / 12  +  (u / 2)^2 sum p v^2  +  (omega_P p_max)^2 / 3 max |v| sum |v|
//
// r = 1 / sqrt(8 ln 2) = 0.4247: root mean square of a rounding's relative error, in units of the unit roundoff, over a
// significand whose logarithm is uniform. Where l sums the cast P its roundings act on v - O instead of v. The last
// term is what P loses below the normal range of its format (sum v^2 <= max |v| sum |v|); only fp8 feels it.
//
// Floor of what can be promised near zero. Arithmetic in fp32 may flush whatever is subnormal (numerics.md, correction
// 4), with w = 2^-126 (2^-1022 for fp64 storage): each of n products and n additions loses w at most, each of the at
// most n rescales (n + 1 with a sink) one more in O and one in the tile's sum, the values themselves and the stored O
// w each. Of O, whose weights sum to 1, that is 2 (n + n + 1) w + 2 w = (4 n + 4) w. Where every value a row sees lies
// below w all relative errors together, each below 1, stay below 4 w more, so that no kernel that flushes can be held
// to less than (4 n + 8) w; values times a descale factor beyond 1 lose as much more. Nothing declared makes it larger,
// and below the least normal number of O nothing is looked for: an element whose bound is within this floor is judged
// by its bound, one whose bound exceeds both floor and values says nothing.

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
  std::set<Weights> seen;
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& scalars = want.statistics.rows[row];
    if (scalars.visible_count < 2) continue;
    bool is_promised = true;
    for (std::size_t at = row * columns; at < (row + 1) * columns; ++at) {
      is_promised = is_promised && promises_something(reference, at, bounds.out[at]);
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

bool promises_something(const Reference& reference, std::size_t at, double bound) {
  const RowStatistics& s = reference.want.statistics;
  const Problem& problem = reference.c.problem;
  const RowScalars& row = s.rows[at / static_cast<std::size_t>(problem.head_dim_v)];
  return std::max(s.max_abs_v[at], flushing_floor(problem, row.visible_count)) >= bound;
}

double flushing_floor(const Problem& problem, std::int64_t terms) {
  const int of_out = format_facts(dtype_of_out(problem.dtype)).exponent_min;
  const int of_sums = std::min(of_out, format_facts(Dtype::kF32).exponent_min);
  const double lost = (4 * static_cast<double>(terms) + 8) * std::max(1.0, problem.descale_v);
  return std::max(std::ldexp(1.0, of_out), std::ldexp(lost, of_sums));
}

}  // namespace ringproof

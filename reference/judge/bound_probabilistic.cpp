// The probabilistic bound of the forward pass (design: numerics.md section 7, P1; method of Higham & Mary 2019).
//
// A sum of N terms c_r d_r, where every d_r has mean 0 given the earlier ones and is sub-Gaussian with parameter s_r
// (bounded by s_r, or uniform within sqrt(3) s_r), exceeds lambda sqrt(sum c_r^2 s_r^2) with probability at most
// 2 exp(-lambda^2 / 2) (Azuma & Hoeffding). With lambda^2 = 2 ln(2 N_checked / delta) no element of a tensor does, but
// for delta. Roundings to nearest, in the order of their making, are such draws; one inequality serves all of them, so
// that their parts add in squares. To first order O is wrong by
//
//   sum_j p_j b_j v_j                    b_j cast of P, uniform within u_P at most, kappa = 1/sqrt(3):
//                                        (kappa u_P)^2 sum p^2 v^2, about v - O where l sums the cast P as well
//   sum_j p_j t_j (v_j - O)              t_j error of a score: d + 1 roundings of at most u |scale| D_j each:
//                                        (u scale)^2 (d + 1) sum p^2 D^2 (v - O)^2 <= (..) D_max^2 sum p^2 (v - O)^2;
//                                        a rounded score adds u_S |S_j| <= u_S max |S|
//   sums P V and l                       R = depth + 2 T roundings on the way of a term. The partial sums of one level
//                                        have magnitudes that add up to at most X = sum p |v| (to O for l), so their
//                                        squares to X^2: u^2 R X^2, u^2 R O^2
//
// sum p^2 (v - O)^2 = sum p^2 v^2 - 2 O sum p^2 v + O^2 sum p^2, with the rounding of those sums added. Everything else
// (common_errors) is no draw and stays as the deterministic bound has it: an exponential's error is a function of its
// argument, a truncation leans to one side, a weight below the normal range of P's format loses up to all of itself.
// The bound of lse is the same with v = 1, uncentred: sum_j p_j t_j, the cast only where l sums it, and the sum l.
//
// Second order, kept whole: the random parts are multiplied by the largest relative errors of what they act on,
// (1 + A_max)(1 + B) / ((1 - C) G); exp(t) - 1 departs from t by at most A_max |t|: A_max sqrt(sum p A^2) more.
//
// numerics.md takes exponentials and weights below the normal range as draws too, and merges by their number alone;
// polynomials err the same way at the same argument, and values that flush are all lost. This costs a few per cent.

#include "reference/judge/bound_probabilistic.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/bound_oracle.h"
#include "reference/oracle/fast_rounding.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kDelta = 1e-6;            // of a whole run (judgement.md)
const double kKappa = 1 / std::sqrt(3.0);  // a uniform draw within 1 is sub-Gaussian with this parameter

double lambda(std::size_t elements, std::int64_t tensors_in_run) {
  const double delta = kDelta / static_cast<double>(tensors_in_run);
  return std::sqrt(2 * std::log(2 * static_cast<double>(elements) / delta));
}

double squared(double x) { return x * x; }

// All that one row's bounds are made of.
struct RowParts {
  RowErrors all, common;
  RandomErrors random;
  double rounding;    // relative error of the oracle's sums in double
  double signed_sum;  // of sum p^2 v, relative to sum p^2 |v|
};

// The fast oracle's statistics are upper bounds but for sum p^2 v, which lies to either side by what it raises others.
RowParts parts_of(const Problem& problem, const Arithmetic& a, const RowScalars& row, double statistics_roundoff) {
  return {row_errors(problem, a, row), common_errors(problem, a, row), random_errors(problem, a, row),
          raise_of_row(problem, row, 0x1p-53) - 1, raise_of_row(problem, row, statistics_roundoff) - 1};
}

double second_order(const RowErrors& e) { return e.weight_max * e.weight_rms; }

// sum p^2 (v - O)^2, no less than it is; sum p^2 |v| is at most sqrt(sum p^2 v^2 sum p^2).
double centred(const RowStatistics& s, const RowScalars& row, std::size_t at, double want, const RowParts& parts) {
  const double sum = s.p2_v2[at] - 2 * want * s.p2_v[at] + want * want * row.sum_p_squared;
  const double of_signed = 2 * std::fabs(want) * parts.signed_sum * std::sqrt(s.p2_v2[at] * row.sum_p_squared);
  const double of_rounding = 4 * parts.rounding * (s.p2_v2[at] + squared(want) * row.sum_p_squared);
  return std::max(sum, 0.0) + (1 + parts.rounding) * of_signed + of_rounding;
}

double bound_element(const Arithmetic& a, Dtype out, const RowParts& parts, const RowStatistics& s,
                     const RowScalars& row, std::size_t at, double want, double lambda) {
  const auto& [all, common, random, rounding, signed_sum] = parts;
  const double magnitude = std::fabs(want), about_want = centred(s, row, at, want, parts);
  const double spread = std::sqrt(s.p_variance[at]) + 0x1p-51 * magnitude;
  const double cast = squared(kKappa * random.cast) * (a.l_sums_cast_p ? about_want : s.p2_v2[at] * (1 + rounding));
  const double scores = squared(random.scores) * about_want;
  const double sums = squared(random.sums) * (squared(s.p_abs_v[at]) + squared(want));
  const double drawn = lambda * std::sqrt(cast + scores + sums) * (1 + all.weight_max) * (1 + all.numerator);
  const double rest = (common.weight_rms + second_order(all)) * spread + common.weight_sink * magnitude +
                      common.numerator * (1 + all.weight_max) * s.p_abs_v[at] + common.underflow * s.sum_abs_v[at];
  const double before = (drawn + rest) / ((1 - all.denominator) * all.weight_sum_min) +
                        common.denominator / (1 - all.denominator) * magnitude;
  return bound_out_after(a, out, all, s.p_abs_v[at], s.max_abs_v[at], want, before);
}

double bound_row_lse(const Problem& problem, const Arithmetic& a, const RowParts& parts, const RowScalars& row,
                     double lambda) {
  const auto& [all, common, random, rounding, signed_sum] = parts;
  const double cast = a.l_sums_cast_p ? squared(kKappa * random.cast) : 0;
  const double variance = (squared(random.scores) + cast) * row.sum_p_squared * (1 + rounding) + squared(random.sums);
  const double drawn = lambda * std::sqrt(variance) * (1 + all.weight_max);
  const double sum = drawn + common.weight_mean + second_order(all) + common.denominator;
  // ln(1 + x) for |x| <= sum, of l as computed.
  return bound_lse_after(problem, a, all, row, -std::log1p(-sum / (1 - all.denominator)));
}

// Where an infinite factor meets a zero or a logarithm its end, `bound` is no number and says nothing.
double at_most(double deterministic, double bound) {
  const bool says_more = deterministic >= bound;
  return says_more ? bound : deterministic;
}

}  // namespace

Bounds bound_probabilistic(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want,
                           const Bounds& deterministic, std::int64_t tensors_in_run) {
  assert_that(tensors_in_run >= 1, "a run judges at least one tensor");
  const Problem& problem = c.problem;
  const Dtype out = dtype_of_out(problem.dtype);
  const Bounds oracle = oracle_error(problem, want);
  const double lambda_out = lambda(want.out.value.size(), tensors_in_run);
  const double lambda_lse = lambda(want.lse.value.size(), tensors_in_run);
  Bounds bounds = deterministic;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& scalars = want.statistics.rows[row];
    if (scalars.visible_count == 0) continue;
    const RowParts parts = parts_of(problem, arithmetic, scalars, want.statistics_roundoff);
    const double up = rounding_up(scalars.visible_count);
    const double lse = bound_row_lse(problem, arithmetic, parts, scalars, lambda_lse);
    bounds.lse[row] = at_most(deterministic.lse[row], lse * up + oracle.lse[row]);
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      const double bound =
          bound_element(arithmetic, out, parts, want.statistics, scalars, at, want.out.value[at], lambda_out);
      bounds.out[at] = at_most(deterministic.out[at], bound * up + oracle.out[at]);
    }
  }
  return bounds;
}

}  // namespace ringproof

// The fast oracle computes, with u = 2^-53, plain sums and (where the processor has them) fused multiply-adds; a bound
// that counts product and addition apart covers both. d = head_dim_qk, a = |scale|, m = fast_sum_depth(n): the
// roundings one term meets in its block of keys, in its product, and in the rescaling and the addition of every later
// block. T = fast_rescales: factors exp(M before - M) that are not 1.
//
//   S_j   d products and additions, times the scale: a term meets d + 1 roundings:                (d + 1) u a D_j
//   M     any number serves as M: it is subtracted and added again, so its own error cancels
//   w_j   exp(M_t - M_t') ... exp(S_j - M_1), the differences add up to gap_j. Each argument is subtracted, u, and
//         multiplied by log2 e, itself rounded, 2u, of its own size: together 3 u gap_j. Each exp2 within 2 ulp: 4u
//         (measured: 1.17 ulp, panel_kernels_test.cpp holds it to 2); parts of the keys are merged by std::exp, less.
//         a_j <= A_j = 1.01 ((d + 1) u a D_j + 3 u gap_j + 4u (T + 1))   (1.01: second order, as A_j <= 1/100)
//         A factor is common to numerator and denominator; that they are multiplied by it is not, and counts in m.
//   O     (sum w v) / l: the a_j cancel but for the centred part, sqrt(sum p A^2) sqrt(sum p (v - O)^2); the sums
//         gamma_m sum p |v| in the numerator and gamma_m |O| in the denominator; division and result u |O|
//   lse   M + ln l: sum p A, gamma_m, ln within 1 ulp of its value 2u |L - M|, addition u |L|
//
// Weights below 2^-1021 and products below 2^-1022 count as 0: each loses at most that (the weight: times |v|).

#include "reference/judge/bound_fast_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/gamma.h"
#include "reference/oracle/fast_rounding.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLeastWeight = 0x1p-1021;

}  // namespace

Bounds fast_oracle_error(const Problem& problem, const ForwardAnswer& want) {
  const double u = want.unit_roundoff, d = static_cast<double>(problem.head_dim_qk);
  const double per_d = (d + 1) * u * std::fabs(problem.softmax_scale), per_gap = 3 * u;
  Bounds error{std::vector<double>(want.out.value.size()), std::vector<double>(want.lse.value.size())};
  const RowStatistics& s = want.statistics;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& r = s.rows[row];
    if (r.visible_count == 0) continue;
    const double constant = 4 * u * static_cast<double>(fast_rescales(problem, r) + 1);
    const std::size_t columns = static_cast<std::size_t>(problem.head_dim_v), first = row * columns;
    if (!(per_d * r.d_max + per_gap * std::min(r.gap_max, 1000.0) + constant <= 0.005)) {
      error.lse[row] = kInfinity;
      std::fill_n(error.out.begin() + static_cast<std::ptrdiff_t>(first), columns, kInfinity);
      continue;
    }
    const double weight_rms =
        1.01 * (per_d * std::sqrt(r.mean_d_squared) + per_gap * std::sqrt(r.mean_gap_squared) + constant);
    const double weight_mean = 1.01 * (per_d * r.mean_d + per_gap * r.mean_gap + constant);
    const double sums = 1.01 * gamma_nearest(static_cast<double>(fast_sum_depth(problem, r.visible_count)), u);
    const double up = rounding_up(r.visible_count);
    const double vanished = static_cast<double>(r.visible_count) * kLeastWeight;
    error.lse[row] =
        (weight_mean + sums + 2 * u * std::fabs(r.lse - r.score_max) + u * std::fabs(r.lse) + vanished) * up;
    for (std::size_t at = first; at < first + columns; ++at) {
      const double magnitude = std::fabs(want.out.value[at]);
      error.out[at] = (weight_rms * std::sqrt(s.p_variance[at]) + sums * (s.p_abs_v[at] + magnitude) + u * magnitude +
                       2 * kLeastWeight * (s.sum_abs_v[at] + static_cast<double>(r.visible_count))) *
                      up;
    }
  }
  return error;
}

}  // namespace ringproof

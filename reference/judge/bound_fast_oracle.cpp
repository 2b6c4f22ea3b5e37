// The fast oracle computes, with u = 2^-53, plain sums and (where the processor has them) fused multiply-adds; a bound
// that counts product and addition apart covers both. d = head_dim_qk, a = |scale|, m = fast_sum_depth(n): the
// roundings one term meets in its block of keys, in its product, and in the rescaling and the addition of every later
// block. T = fast_rescales: factors exp(M before - M) that are not 1.
//
//   S_j   d products and additions, times the scale: a term meets d + 1 roundings:                (d + 1) u a D_j
//         capped: cap (1 - t) / (1 + t), t = 2^y, y = -2 log2(e) |s| / cap. y is wrong by 4u of itself (two constants,
//         a division, a product), t by 4u z t (z = 2 |s| / cap) and by 4u t of exp2; d tanh = 2 dt / (1 + t)^2, with
//         2t / (1 + t)^2 <= 1/2 and 2 z t / (1 + t)^2 <= 0.45: 3.8u; difference, sum and quotient 3u, product u, all
//         of at most 1: 7.8u cap, and tanh shrinks what s is wrong by:                   kFastCapUlps = 10u cap more
//   M     any number serves as M: it is subtracted and added again, so its own error cancels
//   w_j   exp(M_t - M_t') ... exp(S_j - M_1), the differences add up to gap_j. Each argument is subtracted, u, and
//         multiplied by log2 e, itself rounded, 2u, of its own size: together 3 u gap_j. Each exp2 within 2 ulp: 4u
//         (measured: 1.17 ulp, panel_kernels_test.cpp holds it to 2); parts of the keys are merged by std::exp, less.
//         a_j <= A_j = 1.01 ((d + 1) u a D_j + 10u cap + 3 u gap_j + 4u (T + 1))  (1.01: second order, A_j <= 1/100)
//         A factor is common to numerator and denominator; that they are multiplied by it is not, and counts in m.
//   O     (sum w v) / l: the a_j cancel but for the centred part, sqrt(sum p A^2) sqrt(sum p (v - O)^2); the sums
//         gamma_m sum p |v| in the numerator and gamma_m |O| in the denominator; division and result u |O|
//   sink  an exact score, one more part, merged at the end: a factor and an addition for the keys (both counted in T
//         and m), and its own weight wrong by A_s = 1.01 (u gap_s + 4u), which moves O by p_s A_s |O|
//   lse   M + ln l: sum p A (the sink's p_s A_s in it), gamma_m, ln within 1 ulp of its value 2u |L - M|, addition
//         u |L|. The keys' own: the same, with their p; sum p A <= max A
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
  Bounds error{std::vector<double>(want.out.value.size()), std::vector<double>(want.lse.value.size()),
               std::vector<double>(want.lse_keys.value.size())};
  const RowStatistics& s = want.statistics;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& r = s.rows[row];
    if (r.visible_count == 0) continue;
    const double constant =
        u * (4 * static_cast<double>(fast_rescales(problem, r) + 1) + kFastCapUlps * problem.softcap);
    const std::size_t columns = static_cast<std::size_t>(problem.head_dim_v), first = row * columns;
    const double weight_max = 1.01 * (per_d * r.d_max + per_gap * std::min(r.gap_max, 1000.0) + constant);
    const double weight_sink = 1.01 * r.p_sink * u * (std::min(r.sink_gap, 1000.0) + 4);
    if (!(weight_max <= 0.005)) {
      error.lse[row] = kInfinity;
      if (problem.has_sink) error.lse_keys[row] = kInfinity;
      std::fill_n(error.out.begin() + static_cast<std::ptrdiff_t>(first), columns, kInfinity);
      continue;
    }
    const double weight_rms =
        1.01 * (per_d * std::sqrt(r.mean_d_squared) + per_gap * std::sqrt(r.mean_gap_squared) + constant);
    const double weight_mean = 1.01 * (per_d * r.mean_d + per_gap * r.mean_gap + constant) + weight_sink;
    const double sums = 1.01 * gamma_nearest(static_cast<double>(fast_sum_depth(problem, r.visible_count)), u);
    const double up = rounding_up(r.visible_count);
    const double vanished = static_cast<double>(r.visible_count) * kLeastWeight;
    error.lse[row] =
        (weight_mean + sums + 2 * u * std::fabs(r.lse - r.score_max) + u * std::fabs(r.lse) + vanished) * up;
    if (problem.has_sink) {
      const double logarithm = 2 * u * (std::fabs(r.lse_keys - r.score_max) + r.sink_gap);
      error.lse_keys[row] = (weight_max + sums + logarithm + u * std::fabs(r.lse_keys) + vanished) * up;
    }
    for (std::size_t at = first; at < first + columns; ++at) {
      const double magnitude = std::fabs(want.out.value[at]);
      error.out[at] = (weight_rms * std::sqrt(s.p_variance[at]) + sums * (s.p_abs_v[at] + magnitude) +
                       (u + weight_sink) * magnitude +
                       2 * kLeastWeight * (s.sum_abs_v[at] + static_cast<double>(r.visible_count))) *
                      up;
    }
  }
  return error;
}

}  // namespace ringproof

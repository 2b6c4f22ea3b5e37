// The oracle computes, with u = 2^-53 (2^-64 in long double) and compensated sums (error u |sum| + m^2 u^2 sum
// |terms|, the second part below u sum |terms| for every m below 2^26):
//
//   S_j   products 1u, compensated sum 2u, times the scale 1u, all relative to a D_j:             4 u a D_j
//         capped: argument u, tanh within 4 ulp (glibc: 2.5), product u, as in bound_forward.cpp: 10 u cap more
//   w_j   subtraction S_j - M: u gap_j; exp within 2 ulp (glibc; 1 in double): 4u. Together
//         a_j <= A_j = 4 u a D_j + u gap_j + 4u  (second order: times 1.01, as A_j << 1/100 where a D_j < 2^45)
//   O     (sum w v) / l: the a_j cancel but for the centred part; products 1u, compensated sums 2u each in
//         numerator and denominator, division 1u; stored as value and tail, u^2:         6 u sum p |v| + u |O|
//   sink  an exact score, one more term of l
//   lse   M + ln l: sum p A, sums 2u, ln within 1 ulp of its value 2u |L - M|, addition u |L|; M's own error is
//         a part of S's, common to all keys: 4 u a D_j of the key that attains it
//
// Weights below the least normal number lose at most that, times |v|, and so do products; it is counted for
// completeness. Where A_j does not stay below 1/100 nothing is promised.

#include "reference/judge/bound_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/bound_fast_oracle.h"

namespace ringproof {

Bounds oracle_error(const Problem& problem, const ForwardAnswer& want) {
  if (want.is_fast) return fast_oracle_error(problem, want);
  const double u = want.unit_roundoff, scale = std::fabs(problem.softmax_scale);
  const bool wide = u < 0x1p-53;
  constexpr double kLeastNormal = std::numeric_limits<double>::min();
  Bounds error{std::vector<double>(want.out.value.size()), std::vector<double>(want.lse.value.size()),
               std::vector<double>(want.lse_keys.value.size())};
  const RowStatistics& s = want.statistics;
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& r = s.rows[row];
    if (r.visible_count == 0) continue;
    const double per_d = 4 * u * scale, capped = 10 * u * problem.softcap, constant = 4 * u + capped;
    if (!(per_d * r.d_max + capped + u * r.gap_max <=
          0.005)) {  // first order no longer covers the rest, or no number at all
      error.lse[row] = std::numeric_limits<double>::infinity();
      if (problem.has_sink) error.lse_keys[row] = std::numeric_limits<double>::infinity();
      std::fill_n(error.out.begin() + static_cast<std::ptrdiff_t>(row) * problem.head_dim_v, problem.head_dim_v,
                  std::numeric_limits<double>::infinity());
      continue;
    }
    const double weight_rms =
        1.01 * (per_d * std::sqrt(r.mean_d_squared) + u * std::sqrt(r.mean_gap_squared) + constant);
    const double weight_mean = 1.01 * (per_d * r.mean_d + u * (r.mean_gap + r.p_sink * r.sink_gap) + constant);
    const double up = rounding_up(r.visible_count);
    const double of_sink = 1.01 * r.p_sink * (u * r.sink_gap + 4 * u);
    // Stored as value and tail, or rounded once to a double.
    const double stored = wide ? u * u : u;
    const double lse = std::fabs(r.lse);
    error.lse[row] =
        (weight_mean + per_d * r.d_max + capped + 2 * u + 2 * u * std::fabs(r.lse - r.score_max) + (u + stored) * lse) *
        up;
    if (problem.has_sink) {
      const double largest = 1.01 * (2 * per_d * r.d_max + u * r.gap_max + constant + capped);
      const double logarithm = 2 * u * (std::fabs(r.lse_keys - r.score_max) + r.sink_gap);
      error.lse_keys[row] = (largest + 2 * u + logarithm + (u + stored) * std::fabs(r.lse_keys)) * up;
    }
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      const double magnitude = std::fabs(want.out.value[at]);
      error.out[at] = (weight_rms * std::sqrt(s.p_variance[at]) + 6 * u * s.p_abs_v[at] +
                       (u + stored + of_sink) * magnitude + kLeastNormal * (s.sum_abs_v[at] + 1)) *
                      up;
    }
  }
  return error;
}

}  // namespace ringproof

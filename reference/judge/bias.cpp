// One regression of the errors on O itself, weighted by 1 / sigma^2, with a standard error taken over rows:
//
//   beta = sum_r N_r / sum_r D_r,  se^2 = R / (R - 1) sum_r (N_r - beta D_r)^2 / (sum_r D_r)^2
//
// Roundings to nearest lean to no side, so beta of a correct kernel is 0 within se and beta0 (judgement.md, check 5):
//
//   4 u sqrt(n)        sums rounded to nearest in accumulators of unit roundoff u
//   Gamma_n / 2        instead, of truncating accumulators: toward zero by half their largest error
//   2 (e - 5 2^-24)    exponentials coarser than the default err alike at the same argument, at most e in P and in l
//   u_P^2              P's rounding to nearest: where the density f of weights falls as x^-g the mean rounding error is
//                      g ulp(x)^2 / (12 x), 0.18 g u_P^2 of P over significands of uniform logarithm; g = 1 where it is
//                      the logarithm of weights that is uniform, and below 5 within five standard deviations
//   2 u_TF32           a cast to TF32 may truncate
//
// Only the first two are of the design, and by far the largest at default Arithmetic in 16-bit storage and wider.

#include "reference/judge/bias.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/gamma.h"
#include "reference/judge/noise.h"

namespace ringproof {
namespace {

constexpr double kStandardErrors = 5;
constexpr double kExpErrorDefault = 5 * 0x1p-24;

// A temperature that is off, or weights that vanish, shrink O without any fault.
bool may_lean(const Problem& problem, const Arithmetic& a) {
  const bool coarse_operands = is_narrower(a.operand_dtype, problem.dtype);
  const bool coarse_scores = is_narrower(a.score_dtype, a.accumulator_dtype);
  const bool coarse_p = is_narrower(a.p_dtype, Dtype::kBf16);
  const bool coarse_sums = is_narrower(a.accumulator_dtype, Dtype::kF32);
  return coarse_operands || coarse_scores || coarse_p || coarse_sums || problem.softcap != 0;
}

double squared(double x) { return x * x; }

}  // namespace

void BiasSums::add(double row_n, double row_d) {
  ++rows;
  n += row_n;
  d += row_d;
  n_squared += row_n * row_n;
  n_d += row_n * row_d;
  d_squared += row_d * row_d;
}

void BiasSums::add(const BiasSums& other) {
  rows += other.rows;
  n += other.n;
  d += other.d;
  n_squared += other.n_squared;
  n_d += other.n_d;
  d_squared += other.d_squared;
}

double bias(const BiasSums& sums) {
  if (sums.n == 0 && sums.rows > 0) return 0;
  return sums.rows == 0 ? std::numeric_limits<double>::quiet_NaN() : sums.n / sums.d;
}

double bias_error(const BiasSums& sums) {
  if (sums.rows < 2) return std::numeric_limits<double>::quiet_NaN();
  if (sums.n_squared == 0) return 0;
  const auto rows = static_cast<double>(sums.rows);
  const double beta = bias(sums);
  const double squares = sums.n_squared - 2 * beta * sums.n_d + beta * beta * sums.d_squared;
  return std::sqrt(rows / (rows - 1) * (squares <= 0 ? 0 : squares)) / sums.d;
}

double sure_bias(const BiasSums& sums) { return std::fabs(bias(sums)) - kStandardErrors * bias_error(sums); }

bool bias_is_accepted(const BiasSums& sums, double limit) { return sums.rows < kRowsMin || sure_bias(sums) <= limit; }

double bias_limit(const Arithmetic& a, std::int64_t keys) {
  const auto n = static_cast<double>(keys);
  const CastErrors cast = cast_of_p(a);
  const double sums = a.mma_block > 0 ? gamma_accumulator(a, n) / 2
                                      : 4 * format_facts(a.accumulator_dtype).unit_roundoff * std::sqrt(n);
  const double exponentials = 2 * std::max(0.0, a.exp_error_relative - kExpErrorDefault);
  const double of_cast = a.p_dtype == Dtype::kTf32 ? cast.relative : squared(cast.relative);
  return sums + exponentials + of_cast;
}

BiasEvidence bias_of(const Reference& reference, const Limits& limits, const Tensor& out,
                     const std::vector<std::size_t>& rows) {
  const Problem& problem = reference.c.problem;
  const ForwardAnswer& want = reference.want;
  const TensorView view = out.view();
  BiasEvidence evidence;
  evidence.is_judged = limits.is_independent && !may_lean(problem, limits.arithmetic);
  std::int64_t keys = 0;
  for (const std::size_t row : rows) {
    keys = std::max(keys, want.statistics.rows[row].visible_count);
    const auto [b, h, i] = place_of(reference, row);
    double n = 0, d = 0;
    for (std::int64_t c = 0; c < problem.head_dim_v; ++c) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(c);
      const double value = want.out.value[at], variance = limits.variance[at];
      n += residual(view.dtype, value, want.out.tail_at(at), view.load(b, h, i, c), limits.bounds.out[at]) * value /
           variance;
      d += value * value / variance;
    }
    evidence.sums.add(n, d);
  }
  evidence.limit = bias_limit(limits.arithmetic, keys);
  return evidence;
}

}  // namespace ringproof

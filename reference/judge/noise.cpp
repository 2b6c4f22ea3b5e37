// m_r = mean_c (error / sigma)^2 over row r: elements of a row share the roundings of P, so rows are the draws. A
// correct kernel's m is 0.7 to 1 on independent inputs (numerics.md section 8); the check asks whether the mean lies
// above 1.05^2 by more than four of its standard errors.
//
// Judged where sigma knows the roundings: storage of O narrower than the accumulators, those fp32 or wider, partials
// not rounded to fewer bits. A row counts where the errors of its weights that sigma does not know (scores,
// exponentials, operands, truncation), at their largest, are at most a quarter of the rounding of P or O, whichever is
// coarser: they act through the same sum over keys, and a quarter of the largest adds a few per cent to a mean square.

#include "reference/judge/noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace ringproof {
namespace {

constexpr double kStandardErrors = 4;

double mean_of(const NoiseSums& sums) { return sums.sum / static_cast<double>(sums.rows); }

double standard_error(const NoiseSums& sums) {
  const auto rows = static_cast<double>(sums.rows);
  const double squares = sums.sum_of_squares - rows * mean_of(sums) * mean_of(sums);
  return std::sqrt(squares <= 0 ? 0 : squares / (rows - 1) / rows);
}

bool sigma_knows(const Problem& problem, const Arithmetic& a) {
  const bool narrow_storage = is_narrower(dtype_of_out(problem.dtype), a.accumulator_dtype);
  const bool narrow_sums = is_narrower(a.accumulator_dtype, Dtype::kF32);
  const bool narrow_parts = rounds_partials(problem, a) && is_narrower(a.partial_dtype, Dtype::kF32);
  return narrow_storage && !narrow_sums && !narrow_parts;
}

}  // namespace

bool sigma_knows(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  const double known = std::max(cast_of_p(a).relative, format_facts(dtype_of_out(problem.dtype)).unit_roundoff);
  const RowErrors common = common_errors(problem, a, row);
  return common.weight_rms + common.numerator + random_errors(problem, a, row).scores <= known / 4;
}

void NoiseSums::add(double m) {
  ++rows;
  sum += m;
  sum_of_squares += m * m;
}

void NoiseSums::add(const NoiseSums& other) {
  rows += other.rows;
  sum += other.sum;
  sum_of_squares += other.sum_of_squares;
}

double noise_figure(const NoiseSums& sums) {
  return sums.rows == 0 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(mean_of(sums));
}

double sure_noise(const NoiseSums& sums) { return mean_of(sums) - kStandardErrors * standard_error(sums); }

bool noise_is_accepted(const NoiseSums& sums) { return sums.rows < kRowsMin || sure_noise(sums) <= kNoiseMeanMax; }

NoiseEvidence noise_of(const Reference& reference, const Limits& limits, const Tensor& out,
                       const std::vector<std::size_t>& rows) {
  const Problem& problem = reference.c.problem;
  const ForwardAnswer& want = reference.want;
  const TensorView view = out.view();
  NoiseEvidence noise;
  noise.is_judged = limits.is_independent && sigma_knows(problem, limits.arithmetic);
  std::map<std::array<std::int64_t, 2>, NoiseSums> heads;
  for (const std::size_t row : rows) {
    if (noise.is_judged && !limits.sigma_knows[row]) continue;
    const auto [b, h, i] = place_of(reference, row);
    double sum = 0;
    for (std::int64_t c = 0; c < problem.head_dim_v; ++c) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(c);
      const double error =
          residual(view.dtype, want.out.value[at], want.out.tail_at(at), view.load(b, h, i, c), limits.bounds.out[at]);
      sum += error * error / limits.variance[at];
    }
    heads[{b, h}].add(sum / static_cast<double>(problem.head_dim_v));
  }
  for (const auto& [index, sums] : heads) {
    noise.all_heads.add(sums);
    if (sums.rows < kRowsMin) continue;
    const bool first = noise.worst_head.rows == 0;
    const bool rejected = !noise_is_accepted(sums), worst_rejected = !noise_is_accepted(noise.worst_head);
    const bool larger = rejected == worst_rejected && !(mean_of(sums) <= mean_of(noise.worst_head));
    if (first || (rejected && !worst_rejected) || larger) noise.worst_head = sums, noise.worst_index = index;
  }
  return noise;
}

}  // namespace ringproof

#pragma once

#include <array>
#include <cstdint>

#include "reference/judge/limits.h"
#include "reference/judge/residual.h"

namespace ringproof {

/// Sums over rows of m_r, the mean over a row's columns of (error / sigma)^2.
struct NoiseSums {
  std::int64_t rows = 0;
  double sum = 0, sum_of_squares = 0;
  void add(double m);
  void add(const NoiseSums& other);
};

/// sqrt(mean of m): 1 where errors are as large as a correct kernel's; NaN without rows.
double noise_figure(const NoiseSums& sums);

/// Rows a statistic needs to be judged (judgement.md).
inline constexpr std::int64_t kRowsMin = 200;

/// What the mean of m of a correct kernel keeps below.
inline constexpr double kNoiseMeanMax = 1.05 * 1.05;

/// mean(m) - 4 sd(m) / sqrt(R): how large the mean of m surely is.
double sure_noise(const NoiseSums& sums);

/// Check 4: sure_noise <= kNoiseMeanMax, or fewer than kRowsMin rows.
bool noise_is_accepted(const NoiseSums& sums);

/// The noise of O over the rows whose roundings sigma knows (noise.cpp).
struct NoiseEvidence {
  bool is_judged = false;  ///< else shown only: roundings not independent, storage as wide as the accumulators, ...
  NoiseSums all_heads;
  NoiseSums
      worst_head;  ///< of the heads with kRowsMin rows, one that is not accepted or has the largest mean; else empty
  std::array<std::int64_t, 2> worst_index{};  ///< its batch and head
};

/// Whether sigma knows the roundings of this row, so that it counts (noise.cpp).
bool sigma_knows(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// Facts for check 4, of `rows`, which are among rows_drawn_apart.
NoiseEvidence noise_of(const Reference& reference, const Limits& limits, const Tensor& out,
                       const std::vector<std::size_t>& rows);

}  // namespace ringproof

#pragma once

#include <cstdint>

#include "reference/oracle/fast_rounding.h"

namespace ringproof {

/// Pointers below are aligned to 128 bytes. A panel is `queries` rows of Q side by side; every array of it has
/// rows of `queries` numbers, so that vector lanes are queries. K and V come in blocks of kBlockKeys keys, in groups of
/// eight: [keys / 8][d][8] and [columns / 8][kBlockKeys][8].
inline constexpr std::int64_t kGroup = 8;
inline constexpr std::int64_t kBlockKeys = kFastBlockKeys;

/// Keys among which rises are thinned out together (filter_rises).
inline constexpr std::int64_t kThinnedKeys = 16;

/// What a panel knows of the keys it has met, each [queries]: sums of w = exp(S - M) with the largest score M so far.
struct PanelSums {
  double *score_max, *score_min, *d_max;
  double *weight, *weight_squared;            ///< sum w, sum w^2
  double *d, *d_squared, *gap, *gap_squared;  ///< sum w D, sum w D^2, sum w gap, sum w gap^2
  double* rescale;                            ///< of the last block: what older sums of w v are multiplied by
  float *rescale_single, *rescale_squared;    ///< the same in single precision, and its square

  static constexpr std::int64_t kDoubles = 10, kSingles = 2;
};

/// Keys of one row that may be rises of a running maximum.
struct ThinnedRow {
  std::int64_t forth = 0, back = 0;                  ///< how many were kept
  std::int64_t ascents_forth = 0, ascents_back = 0;  ///< most in one run of kThinnedKeys
};

/// What one instruction set does; all functions are pure in their arguments.
struct PanelKernels {
  const char* target;
  std::int64_t queries;

  /// score[key][query] = scale * sum_c q[c][query] k[key][c] for a block of keys; d (null: not wanted) sums magnitudes.
  void (*scores)(const double* q, const float* q_abs, const double* k, const float* k_abs, std::int64_t head_dim,
                 double scale, double* score, float* d);

  /// Takes a block of scores (-inf: a hidden key, whose d is 0) into the sums, rescaling them to the new maximum;
  /// leaves w in place of the scores and, where `d` is not null, w in single precision in place of d, and w^2. Without
  /// d only score_max, weight and rescale are kept. Sums before the first key: score_max kNoScore, score_min +inf,
  /// others 0.
  void (*weights)(double* score, float* d, float* weight_squared, const PanelSums& sums);

  /// out[column][query] = out * rescale[query] + sum_key weight[key][query] v[key][column], over a block of keys, for
  /// `groups` of columns.
  void (*values)(const double* weight, const double* v, std::int64_t groups, const double* rescale, double* out);
  void (*values_single)(const float* weight, const float* v, std::int64_t groups, const float* rescale, float* out);

  /// rows[query * stride + key] = score[key][query] * factor in single precision, for a block of keys.
  void (*transpose)(const double* score, double factor, float* rows, std::int64_t stride);

  /// Of every kThinnedKeys keys of a row (a multiple of that many, the rest -inf) keeps, in order, those that exceed
  /// all before them in these kThinnedKeys less near_tie (forth), and all behind them (back).
  ThinnedRow (*thin_rises)(const float* scores, std::int64_t keys, float near_tie, float* forth, float* back);

  /// y = 2^x for x <= 0, count a multiple of `queries`; for the test of its error.
  void (*exp2)(const double* x, double* y, std::int64_t count);
};

/// The score before the first key: below every score, and finite, so that differences are numbers.
inline constexpr double kNoScore = -1e300;

/// The kernels of the best instruction set this processor has (hwy::SetSupportedTargetsForTest narrows it).
PanelKernels panel_kernels();

}  // namespace ringproof

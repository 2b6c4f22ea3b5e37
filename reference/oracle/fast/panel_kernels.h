#pragma once

#include <cstdint>

namespace ringproof {

/// Pointers below are aligned to 128 bytes. A panel is `queries` rows of Q side by side; every array of it has
/// rows of `queries` numbers, so that vector lanes are queries. K and V come in groups of eight: [keys / 8][d][8]
/// and [columns / 8][keys][8].
inline constexpr std::int64_t kGroup = 8;

/// Row sums and extremes of a panel, each [queries].
struct PanelSums {
  double *score_max, *score_min, *d_max;
  double *weight, *weight_squared;            ///< sum w, sum w^2
  double *d, *d_squared, *gap, *gap_squared;  ///< sum w D, sum w D^2, sum w gap, sum w gap^2
};

/// What one instruction set does; all functions are pure in their arguments.
struct PanelKernels {
  const char* target;
  std::int64_t queries;

  /// score[key][query] = scale * sum_c q[c][query] k[key][c] for `groups` groups of keys, d sums of the magnitudes.
  void (*scores)(const double* q, const float* q_abs, const double* k, const float* k_abs, std::int64_t head_dim,
                 std::int64_t groups, double scale, double* score, float* d);

  /// score_max, score_min and d_max over `keys` keys; a score of -inf is a hidden key.
  void (*extremes)(const double* score, const float* d, std::int64_t keys, const PanelSums& sums);

  /// Rises of the running maximum along and against the keys, the larger, the first key of a row not counted (rises.h).
  void (*rises)(const double* score, std::int64_t keys, const double* near_tie, double* rises);

  /// w = exp(S - M) in place of the scores, rounded to single precision in place of d, and its square; and the sums.
  void (*weights)(double* score, float* d, float* weight_squared, std::int64_t keys, const PanelSums& sums);

  /// out[column][query] += sum_key weight[key][query] v[key][column], for `groups` of columns and one block of keys;
  /// v_stride lies between groups.
  void (*values)(const double* weight, const double* v, std::int64_t v_stride, std::int64_t groups, std::int64_t keys,
                 double* out);
  void (*values_single)(const float* weight, const float* v, std::int64_t v_stride, std::int64_t groups,
                        std::int64_t keys, float* out);

  /// y = 2^x for x <= 0, count a multiple of `queries`; for the test of its error.
  void (*exp2)(const double* x, double* y, std::int64_t count);
};

/// The kernels of the best instruction set this processor has (hwy::SetSupportedTargetsForTest narrows it).
PanelKernels panel_kernels();

}  // namespace ringproof

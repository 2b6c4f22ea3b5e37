#pragma once

#include <cstdint>

#include "reference/oracle/fast_rounding.h"

namespace ringproof {

/// Pointers below are aligned to 128 bytes. A panel is `queries` rows of Q side by side, so that vector lanes are
/// queries. Its arrays of doubles [rows][queries] lie as two halves of `half` queries one behind the other,
/// [2][rows][half]: what one register tile reads lies together. Functions that take `halves` leave the second half
/// alone where that is 1, but for words.
///
/// K comes as rows of doubles `k_stride` apart, V in groups of eight columns [columns / 8][kBlockKeys][8].
///
/// What only statistics need comes in words of 32 bits: one float, or (where the processor multiplies pairs of bf16)
/// two bf16 that follow each other in the direction of the sum, rounded to nearest; `per_word` says which.
inline constexpr std::int64_t kGroup = 8;
inline constexpr std::int64_t kBlockKeys = kFastBlockKeys;
using Word = std::uint32_t;

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
  std::int64_t queries, half, per_word;
  /// Relative error of a number in a word.
  double word_roundoff() const { return per_word == 2 ? 0x1p-8 : 0x1p-24; }

  /// Where row `row` of `rows` of query `query` stands among the doubles of a panel.
  std::int64_t place(std::int64_t row, std::int64_t rows, std::int64_t query) const {
    return (query / half * rows + row) * half + query % half;
  }
  /// Words that `count` numbers of one sum take.
  std::int64_t words(std::int64_t count) const { return (count + per_word - 1) / per_word; }

  /// score[key][query] = scale * sum_c q[c][query] k[key][c] for a block of keys.
  void (*scores)(const double* q, const double* k, std::int64_t k_stride, std::int64_t head_dim, double scale,
                 std::int64_t halves, double* score);
  /// score = softcap tanh(score / softcap) in a block of scores.
  void (*cap)(double* score, std::int64_t halves, double softcap);
  /// d[key][query] = sum_c q_abs[c][query] k_abs[key][c], in single precision; d is not in halves.
  void (*magnitudes)(const Word* q_abs, const Word* k_abs, std::int64_t k_stride, std::int64_t words, float* d);

  /// Takes a block of scores (-inf: a hidden key, whose d is 0) into the sums, rescaling them to the new maximum;
  /// leaves w in place of the scores and, where `d` is not null, words of w and of w^2. Without d only score_max,
  /// weight and rescale are kept. Sums before the first key: score_max kNoScore, score_min +inf, others 0.
  void (*weights)(double* score, const float* d, Word* weight, Word* weight_squared, std::int64_t halves,
                  const PanelSums& sums);

  /// out[column][query] = out * rescale[query] + sum_key weight[key][query] v[key][column], over a block of keys, for
  /// `groups` of columns. In single precision out is not in halves.
  void (*values)(const double* weight, const double* v, std::int64_t groups, const double* rescale, std::int64_t halves,
                 double* out);
  void (*values_single)(const Word* weight, const Word* v, std::int64_t groups, const float* rescale, float* out);

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

/// Whether the processor multiplies pairs of bf16 (AVX512_BF16), and no test has forbidden it.
bool has_pairs();
void allow_pairs_for_test(bool is_allowed);

}  // namespace ringproof

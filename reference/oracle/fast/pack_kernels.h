#pragma once

#include <cstdint>

#include "reference/oracle/fast/panel_kernels.h"

namespace ringproof {

inline std::int64_t groups_of(std::int64_t count) { return (count + kGroup - 1) / kGroup; }

/// Doubles of memory a row of `count` numbers is given, so that vectors of any width may read it to its end.
inline std::int64_t row_room(std::int64_t count) { return (count + 15) / 16 * 16; }

/// One block of kBlockKeys keys as the panel's kernels want them (panel_kernels.h), missing columns 0; missing keys
/// hold anything finite.
struct PackedBlock {
  /// Keys whose |v| are summed together.
  static constexpr std::int64_t kSumKeys = 16;

  double* k;          ///< [kBlockKeys] rows k_stride apart
  double* v;          ///< [groups of columns][kBlockKeys][8]
  double* k_abs_sum;  ///< [kBlockKeys] sum over channels of |k|
  double* v_sums;     ///< [kBlockKeys / kSumKeys][padded columns] sums of |v|
  double* v_maxima;   ///< likewise, largest |v|
  Word* k_abs;        ///< rows k_abs_stride apart: |k| / k_unit, raised to 2^-60 where it is less and not 0
  Word *v_abs, *v_squared, *v_centred_squared, *v_single;  ///< with x = v / v_unit: |x|, x^2, (x - centre)^2, x
  std::int64_t k_stride, k_abs_stride;
};

/// Of columns of V: 1 / unit and centre, [padded columns].
struct ColumnFacts {
  const double *inverse, *centre;
};

/// What packing does on vectors. Rows have row_room(count) doubles, 0 behind the last; they are aligned to 128 bytes.
struct PackKernels {
  std::int64_t per_word;  ///< as in PanelKernels

  /// largest[c] = max(largest[c], |row[c]|) and, where `sum` is not null, sum[c] += row[c]. Returns 0, or NaN where a
  /// number is not finite.
  double (*survey)(const double* row, std::int64_t count, double* largest, double* sum);

  /// Words of the magnitudes of a row times `inverse`, those below 2^-60 that are not 0 raised to it; room for as many
  /// words as row_room(count) numbers take. Returns the sum of the magnitudes as they were.
  double (*magnitude_words)(const double* row, std::int64_t count, double inverse, Word* words);

  /// Takes `rows` rows (at most per_word) of V, row_room(columns) apart, into the block from key `key` (a multiple of
  /// per_word) on. Null `facts`: v alone is made.
  void (*pack_values)(const double* row, std::int64_t rows, std::int64_t columns, std::int64_t key,
                      const ColumnFacts* facts, const PackedBlock& to);
};

/// The kernels that go with panel_kernels().
PackKernels pack_kernels();

}  // namespace ringproof

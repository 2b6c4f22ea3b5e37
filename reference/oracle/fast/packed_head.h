#pragma once

#include <cstdint>
#include <vector>

#include "reference/oracle/fast/memory.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/spec/tensor.h"

namespace ringproof {

inline std::int64_t groups_of(std::int64_t count) { return (count + kGroup - 1) / kGroup; }
inline std::int64_t blocks_of(std::int64_t keys) { return (keys + kBlockKeys - 1) / kBlockKeys; }

/// What is known of one head of K and V before its blocks are packed. What is summed in single precision is scaled by
/// powers of two to at most 1, so that squares neither overflow nor vanish.
struct HeadFacts {
  std::int64_t keys, head_dim_qk, head_dim_v;
  bool is_finite = true;              ///< where false the rest means nothing
  double k_unit = 1;                  ///< a power of two above the largest |k|
  std::vector<double> k_channel_max;  ///< [head_dim_qk] largest |k|
  std::vector<double> v_unit;         ///< [head_dim_v] at least twice the largest |v| of the column, a power of two
  std::vector<double> v_centre;       ///< [head_dim_v] the column's mean, nearly
};

/// Reads head h of batch b once.
HeadFacts survey_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, int threads);

/// One block of kBlockKeys keys as the kernels want them, missing keys and columns 0.
struct PackedBlock {
  /// Keys whose |v| are summed together.
  static constexpr std::int64_t kSumKeys = 16;

  double* k;          ///< [kBlockKeys / 8][head_dim_qk][8]
  double* v;          ///< [groups of columns][kBlockKeys][8]
  double* k_abs_sum;  ///< [kBlockKeys] sum over channels of |k|
  double* v_sums;     ///< [kBlockKeys / kSumKeys][padded columns] sums of |v|
  double* v_maxima;   ///< likewise, largest |v|
  float* k_abs;       ///< |k| / k_unit, raised to 2^-60 where it is less and not 0: no product vanishes
  float *v_abs, *v_squared, *v_centred_squared, *v_single;  ///< with x = v / v_unit: |x|, x^2, (x - centre)^2, x
};

/// Doubles of memory one block takes.
std::int64_t packed_doubles(const HeadFacts& facts);

/// The block whose memory begins at `memory`.
PackedBlock packed_at(const HeadFacts& facts, double* memory);

/// Packs block `block` of head h of batch b. `memory` holds zeros or another block of a head of the same sizes. Without
/// statistics only k and v are made.
PackedBlock pack_block(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
                       std::int64_t block, bool with_statistics, double* memory);

/// Row `row` of head h as doubles: shape[3] numbers.
void decode_row(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row, double* to);

/// A power of two above `magnitude`; 1 for 0 and for infinity.
double unit_of(double magnitude);

/// `magnitude` / unit in single precision, rounded to nearest; a number below 2^-60 that is not 0 becomes 2^-60.
float scaled_magnitude(double magnitude, double unit_inverse);

}  // namespace ringproof

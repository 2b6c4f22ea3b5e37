#pragma once

#include <cstdint>
#include <vector>

#include "reference/oracle/fast/memory.h"
#include "reference/oracle/fast/pack_kernels.h"
#include "reference/spec/tensor.h"

namespace ringproof {

inline std::int64_t blocks_of(std::int64_t keys) { return (keys + kBlockKeys - 1) / kBlockKeys; }

/// What is known of one head of K and V before its blocks are packed. What is summed in single precision is scaled by
/// powers of two to at most 1, so that squares neither overflow nor vanish.
struct HeadFacts {
  std::int64_t keys, head_dim_qk, head_dim_v;
  double descale_k = 1, descale_v = 1;  ///< K and V are multiplied by them as they are decoded
  std::int64_t per_word = 1;            ///< as in PanelKernels
  bool is_finite = true;                ///< where false the rest means nothing
  double k_unit = 1;                    ///< a power of two above the largest |k|
  std::vector<double> k_channel_max;    ///< [head_dim_qk] largest |k|
  std::vector<double> v_unit;           ///< [head_dim_v] at least twice the largest |v| of the column, a power of two
  std::vector<double> v_centre;         ///< [head_dim_v] the column's mean, nearly
};

/// Reads head h of batch b once; K and V mean what is stored times descale_k and descale_v.
HeadFacts survey_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, double descale_k,
                      double descale_v, int threads);

/// Doubles of memory one block takes, a multiple of 16.
std::int64_t packed_doubles(const HeadFacts& facts, bool with_statistics);

/// The block whose memory begins at `memory`.
PackedBlock packed_at(const HeadFacts& facts, double* memory);

/// Packs block `block` of head h of batch b into `memory`, aligned to 128 bytes. Without statistics only k and v are
/// made.
PackedBlock pack_block(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
                       std::int64_t block, bool with_statistics, double* memory);

/// Row `row` of head h as doubles times `descale`: shape[3] numbers.
void decode_row(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row, double descale, double* to);

/// A power of two above `magnitude`; 1 for 0 and for infinity.
double unit_of(double magnitude);

}  // namespace ringproof

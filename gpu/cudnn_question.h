#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "gpu/flash_params.h"

namespace ringproof {

/// What cuDNN's attention is asked for a problem, in cuDNN's terms: four axes (batch, heads, sequence, dim), strides in
/// elements, the log of the sum of exponentials as "stats" with a last axis of 1.
struct CudnnQuestion {
  using Axes = std::array<std::int64_t, 4>;
  Axes q, k, v, out, stats;
  Axes q_stride, k_stride, v_stride, out_stride, stats_stride;
  bool is_bf16;  ///< else fp16
  float scale;
  bool is_causal;        ///< the diagonal is the last key a row sees
  bool is_bottom_right;  ///< the diagonal ends in the last row and key, else it begins in the first ones
  bool operator==(const CudnnQuestion&) const = default;
};

/// Why cuDNN is not asked this, a short phrase; empty where it is. cuDNN can do more than is asked here: what stands in
/// the comparison are plain and causal attention of 16-bit storage, with lse.
std::string cudnn_not_asked_reason(const FlashParams& params);

/// Requires that nothing speaks against it.
CudnnQuestion cudnn_question_of(const FlashParams& params);

}  // namespace ringproof

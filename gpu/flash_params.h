#pragma once

#include <cstdint>

namespace ringproof {

/// What one flash attention kernel is asked: plain data, handed to the device by value.
///
/// Shapes: q [batch, heads_q, seqlen_q, head_dim_qk], k [batch, heads_kv, seqlen_kv, head_dim_qk],
/// v [batch, heads_kv, seqlen_kv, head_dim_v], out [batch, heads_q, seqlen_q, head_dim_v], lse [batch, heads_q,
/// seqlen_q] (null: not wanted). Strides count elements, in the order of the axes; 0 broadcasts an input.
struct FlashParams {
  const float* q;
  const float* k;
  const float* v;
  float* out;
  float* lse;
  std::int64_t q_stride[4], k_stride[4], v_stride[4], out_stride[4];
  std::int64_t lse_stride[3];
  std::int64_t batch, heads_q, heads_kv;  ///< heads_q is a multiple of heads_kv
  std::int64_t seqlen_q, seqlen_kv;       ///< 0 allowed
  std::int64_t head_dim_qk, head_dim_v;
  std::int64_t band_lo, band_hi;  ///< row i sees key j iff i + band_lo <= j <= i + band_hi
  float scale;                    ///< natural-log units: S = scale q.k, lse = ln sum exp S
};

}  // namespace ringproof

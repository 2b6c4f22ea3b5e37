#pragma once

#include <cstdint>

#include "reference/spec/dtype.h"

namespace ringproof {

/// What a flash attention kernel is asked: plain data, handed to the device by value. make_flash_params() fills it;
/// kernel_mask.cuh reads the mask out of it. All pointers are those of the memory the kernel runs in.
///
/// Shapes: q [batch, heads_q, seqlen_q, head_dim_qk], k [batch, heads_kv, seqlen_kv, head_dim_qk],
/// v [batch, heads_kv, seqlen_kv, head_dim_v], out [batch, heads_q, seqlen_q, head_dim_v], lse [batch, heads_q,
/// seqlen_q]. Strides count elements, in the order of the axes; 0 broadcasts an input; offsets take 64 bits.
struct FlashParams {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  void* lse;        ///< fp32, fp64 beside fp64 storage; null: not wanted
  void* workspace;  ///< as many bytes as the kernel's header asks for; null where it asks for none
  Dtype dtype;      ///< storage of q, k, v
  Dtype out_dtype;  ///< the same, or fp32 for the partial O of a ring
  std::int64_t q_stride[4], k_stride[4], v_stride[4], out_stride[4];
  std::int64_t lse_stride[3];
  std::int64_t batch, heads_q, heads_kv;  ///< heads_q is a multiple of heads_kv
  std::int64_t seqlen_q, seqlen_kv;       ///< 0 allowed
  std::int64_t head_dim_qk, head_dim_v;

  /// Row i sees key j iff i + band_lo <= j <= i + band_hi, and documents and blocks allow it, where there are any.
  /// Both ends lie in -seqlen_q .. seqlen_kv, so that a row or a key can be added to them.
  std::int64_t band_lo, band_hi;
  /// Where documents begin (documents + 1 each, ascending, the last number is where the last one ends); null: none.
  /// Row and key must be of one document; what lies past the last end sees nothing and is seen by nothing.
  const std::int64_t* document_starts_q;
  const std::int64_t* document_starts_kv;
  std::int64_t documents;
  bool document_causal;  ///< besides, the last row of a document sees all its keys, each row before it one key less
  /// One flag per tile of block_q rows and block_kv keys, row-major over ceil(seqlen_q / block_q) x ceil(seqlen_kv /
  /// block_kv), 1 visible; null: none.
  const std::uint8_t* block_mask;
  std::int64_t block_q, block_kv;

  std::int64_t splits;  ///< parts the keys are cut into, by kernels that do so; 0: the kernel's own choice

  double scale;       ///< natural-log units: S = scale q.k, lse = ln sum exp S. Exact in fp32 unless storage is fp64
  double softcap;     ///< S becomes softcap tanh(S / softcap) before the mask; 0: none. Exact in fp32 as scale is
  const float* sink;  ///< heads_q logits; exp of it is added to every row's denominator. null: none
};

}  // namespace ringproof

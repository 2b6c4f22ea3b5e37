#pragma once

#include <cstdint>
#include <string>

#include "reference/spec/dtype.h"
#include "reference/spec/mask.h"
#include "reference/spec/schedule.h"
#include "reference/spec/tensor.h"

namespace ringproof {

enum class Direction : std::int32_t { kForward = 0, kBackward = 1, kBackwardCoupled = 2 };

/// One attention problem, what a candidate is asked: the C++ twin of rp_problem. semantics.md says what it
/// means.
///
/// Lengths are global; with rank_count > 1 the tensors passed beside it are local shards. Scale, softcap and
/// descale factors are already rounded to fp32 (not for fp64 storage); the sink's logits are fp32 always.
struct Problem {
  Dtype dtype;  ///< storage of q, k, v; O comes back in it (bf16 for fp8), lse in fp32 (fp64 for fp64)
  Mask mask;
  std::int64_t batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
  double softmax_scale;
  double softcap = 0;     ///< 0 none
  bool has_sink = false;  ///< a logit per query head takes part in every row's denominator
  /// kDocument: where each document begins (as many as it has lengths, and one past the last); kBlockSparse:
  /// row-major flags per tile, 1 visible. Set by the caller of a candidate, who keeps them (MaskTables).
  const std::int64_t* cu_seqlens_q = nullptr;
  const std::int64_t* cu_seqlens_kv = nullptr;
  const std::uint8_t* block_mask = nullptr;
  const float* sink = nullptr;  ///< heads_q logits, set by the caller of a candidate when has_sink
  double descale_q = 1, descale_k = 1, descale_v = 1;  ///< 1 except for fp8 storage
  Topology topology{Schedule::kSingle};
  std::int32_t rank = 0;  ///< whose shards the tensors are, when topology.rank_count > 1

  std::int64_t heads_per_group() const { return heads_q / heads_kv; }
  /// What stored q.k is multiplied by to give a score: softmax_scale, with the descale factors of fp8.
  double score_scale() const { return softmax_scale * descale_q * descale_k; }
  Shape shape_q() const { return {batch, heads_q, seqlen_q, head_dim_qk}; }
  Shape shape_k() const { return {batch, heads_kv, seqlen_kv, head_dim_qk}; }
  Shape shape_v() const { return {batch, heads_kv, seqlen_kv, head_dim_v}; }
  Shape shape_out() const { return {batch, heads_q, seqlen_q, head_dim_v}; }
  Shape shape_lse() const { return {batch, heads_q, seqlen_q, 1}; }

  bool operator==(const Problem&) const = default;
};

/// True for fp8_e4m3 and fp8_e5m2.
bool is_fp8(Dtype dtype);
/// Storage of O: the storage dtype, bf16 for fp8.
Dtype dtype_of_out(Dtype storage);
/// Storage of lse: fp32, fp64 for fp64 storage.
Dtype dtype_of_lse(Dtype storage);

/// Throws InputError naming the field when the problem makes no sense: a negative length, no head, heads_q
/// not a multiple of heads_kv, a scale that is not finite, a size whose element count overflows 64 bits, and
/// so on.
void validate(const Problem& problem);

/// Throws InputError with one sentence when the problem is well-formed but asks for what no candidate is asked
/// (descale factors without fp8 storage).
void require_built(const Problem& problem);

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "reference/spec/arithmetic.h"
#include "reference/spec/mask.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Attention of some of a rank's query rows against some keys of the block it holds now. Lengths are local; the band is
/// already shifted to local indices, so that row i sees key j iff i + lo <= j <= i + hi. What rows of one
/// document see of it is a band: documents come one at a time.
struct LocalProblem {
  std::int64_t batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
  Band band;
  double softmax_scale;
  double softcap = 0;
  const float* sink = nullptr;  ///< logits per query head that take part in every row's denominator; null: none
  /// Document boundaries in local indices (documents + 1 each), null without documents. Rings leave them null.
  std::int64_t documents = 0;
  const std::int64_t* cu_seqlens_q = nullptr;
  const std::int64_t* cu_seqlens_kv = nullptr;
  /// Flags per (query tile, key tile), row-major, 1 visible, tiles in local indices; null without block_sparse.
  std::int64_t block_q = 0, block_kv = 0;
  const std::uint8_t* block_mask = nullptr;
};

/// The compute of a ring, passed in. `run` reads q, k, v in storage dtype and overwrites out and lse, both in
/// the partial dtype, for every row: rows that see no key of this block get O = 0, lse = -inf. `stream` as in
/// Forward.
struct LocalStep {
  std::string name;
  std::uint32_t dtypes;           ///< storage dtypes it takes, by bit
  std::int64_t head_dim_max = 0;  ///< 0 no limit
  bool takes_blocks = false;      ///< it reads block_mask
  bool takes_softcap = false;     ///< it caps scores
  bool enqueues = false;    ///< on a device: `run` gives its work to `stream` and returns; memory is what both reach
  bool takes_sink = false;  ///< it adds LocalProblem::sink; rows that see no key then get lse = the logit
  /// What it declares for a storage dtype; partial_dtype is the dtype of its out and lse.
  std::function<Arithmetic(Dtype storage)> arithmetic;
  std::function<void(const LocalProblem&, const TensorView& q, const TensorView& k, const TensorView& v,
                     const TensorView& out, const TensorView& lse, void* stream)>
      run;
};

}  // namespace ringproof

// As many splits as keep a large GPU busy with the few heads of one sequence, and none of fewer keys than a tile.

#include "gpu/flash_split_kv.h"

#include <algorithm>

namespace ringproof {

std::int64_t flash_split_kv_splits(const FlashParams& params) {
  constexpr std::int64_t kKeysMin = 64, kSplitsMax = 16;
  if (params.splits > 0) return params.splits;
  return std::clamp<std::int64_t>((params.seqlen_kv + kKeysMin - 1) / kKeysMin, 1, kSplitsMax);
}

std::int64_t flash_split_kv_workspace_bytes(const FlashParams& params) {
  const std::int64_t rows = params.batch * params.heads_q * params.seqlen_q;
  const std::int64_t floats_per_row = 2 + params.head_dim_v;
  return rows * flash_split_kv_splits(params) * floats_per_row * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace ringproof

#pragma once

#include <cstdint>

#include "gpu/flash_params.h"

namespace ringproof {

/// Largest head_dim_qk and head_dim_v that flash_split_kv takes.
inline constexpr int kFlashSplitKvHeadDimMax = 256;

/// Into how many parts flash_split_kv cuts the keys: params.splits, or a number of its own that depends on seqlen_kv
/// alone. Some of them may be empty.
std::int64_t flash_split_kv_splits(const FlashParams& params);

/// Bytes of workspace it wants: m, l and O of every row and split in fp32. Nothing in it is read before it is written.
std::int64_t flash_split_kv_workspace_bytes(const FlashParams& params);

namespace on_host {

/// Attention forward for few queries and many keys (decoding), see flash_split_kv.cuh, run by the host runtime; the
/// last word of the name is the storage dtype. `stream` is null or points to simt::host::LaunchOptions. Every row of
/// out and lse is written; rows that see no key get O = 0, lse = -inf or, with a sink, lse = sink. NaN in a slot a row
/// does not see does not touch that row. out may be fp32 instead of the storage dtype. Requires head dims of at most
/// 256 and the workspace.
void flash_split_kv_fp32(const FlashParams& params, void* stream);
void flash_split_kv_fp16(const FlashParams& params, void* stream);
void flash_split_kv_bf16(const FlashParams& params, void* stream);

}  // namespace on_host

namespace on_cuda {

/// The same source on the GPU, asynchronously on the cudaStream_t `stream`; pointers are device pointers. They exist in
/// builds with CUDA only. Throw Error when a kernel cannot be started.
void flash_split_kv_fp32(const FlashParams& params, void* stream);
void flash_split_kv_fp16(const FlashParams& params, void* stream);
void flash_split_kv_bf16(const FlashParams& params, void* stream);

}  // namespace on_cuda
}  // namespace ringproof

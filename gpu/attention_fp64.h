#pragma once

#include "gpu/flash_params.h"

namespace ringproof {

/// Largest head_dim_qk and head_dim_v that attention_fp64 takes.
inline constexpr int kAttentionFp64HeadDimMax = 256;

namespace on_host {

/// Attention forward in fp64, see attention_fp64.cuh, run by the host runtime. `stream` is null or points to
/// simt::host::LaunchOptions. Every row of out and lse is written; rows that see no key get O = 0, lse = -inf or, with
/// a sink, lse = sink. NaN in a slot a row does not see does not touch that row. Requires fp64 tensors, lse included,
/// and head dims of at most 256; no workspace.
void attention_fp64(const FlashParams& params, void* stream);

}  // namespace on_host

namespace on_cuda {

/// The same source on the GPU, asynchronously on the cudaStream_t `stream`; pointers are device pointers. Exists in
/// builds with CUDA only. Throws Error when the kernel cannot be started.
void attention_fp64(const FlashParams& params, void* stream);

}  // namespace on_cuda
}  // namespace ringproof

#pragma once

#include "gpu/flash_params.h"

namespace ringproof {

/// Largest head_dim_qk and head_dim_v that flash_forward_mma takes.
inline constexpr int kFlashForwardMmaHeadDimMax = 256;

namespace on_host {

/// Attention forward on tensor cores, see flash_forward_mma.cuh, run by the host runtime. q, k, v in bf16 or fp16; out
/// in the same, or in fp32. `stream` is null or points to simt::host::LaunchOptions. Every row of out and lse is
/// written; rows that see no key get O = 0, lse = -inf (with a sink lse = its logit). NaN in a slot a row does not see
/// does not touch that row. Requires head dims of at most 256.
/// Throws Error with file:line when the kernel misuses a barrier or a warp operation, and for lengths near 2^31.
void flash_forward_mma(const FlashParams& params, void* stream);

}  // namespace on_host

namespace on_cuda {

/// The same source on the GPU, from compute capability 8.0 on, asynchronously on the cudaStream_t `stream`; pointers
/// are device pointers. Exists in builds with CUDA only. Throws Error when the kernel cannot be started.
void flash_forward_mma(const FlashParams& params, void* stream);

}  // namespace on_cuda
}  // namespace ringproof

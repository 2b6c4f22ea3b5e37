#pragma once

#include "gpu/flash_params.h"

namespace ringproof {

/// Largest head_dim_qk and head_dim_v that flash_forward_fp32 takes.
inline constexpr int kFlashForwardFp32HeadDimMax = 256;

namespace on_host {

/// Attention forward in fp32, see flash_forward_fp32.cuh, run by the host runtime. `stream` is null or points to
/// simt::host::LaunchOptions. Every row of out and lse is written; rows that see no key get O = 0, lse = -inf or, with
/// a sink, lse = sink. NaN in a slot a row does not see does not touch that row. Requires fp32 tensors and head dims of
/// at most 256; no workspace.
/// Throws Error with file:line when the kernel misuses a barrier or a warp operation.
void flash_forward_fp32(const FlashParams& params, void* stream);

}  // namespace on_host

namespace on_cuda {

/// The same source on the GPU, asynchronously on the cudaStream_t `stream`; pointers are device pointers. Exists in
/// builds with CUDA only. Throws Error when the kernel cannot be started.
void flash_forward_fp32(const FlashParams& params, void* stream);

}  // namespace on_cuda
}  // namespace ringproof

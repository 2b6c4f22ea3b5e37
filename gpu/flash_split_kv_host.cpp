// The kernels as the host compiler sees them.

#include "gpu/flash_split_kv.cuh"

namespace ringproof::SIMT_BACKEND {

void flash_split_kv_fp32(const FlashParams& params, void* stream) { launch_flash_split_kv_fp32(params, stream); }
void flash_split_kv_fp16(const FlashParams& params, void* stream) { launch_flash_split_kv_fp16(params, stream); }
void flash_split_kv_bf16(const FlashParams& params, void* stream) { launch_flash_split_kv_bf16(params, stream); }

}  // namespace ringproof::SIMT_BACKEND

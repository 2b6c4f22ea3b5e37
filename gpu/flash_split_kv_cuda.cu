// The kernels as nvcc sees them.

#include "gpu/flash_split_kv.cuh"

namespace ringproof::on_cuda {

void flash_split_kv_fp32(const FlashParams& params, void* stream) { launch_flash_split_kv_fp32(params, stream); }
void flash_split_kv_fp16(const FlashParams& params, void* stream) { launch_flash_split_kv_fp16(params, stream); }
void flash_split_kv_bf16(const FlashParams& params, void* stream) { launch_flash_split_kv_bf16(params, stream); }

}  // namespace ringproof::on_cuda

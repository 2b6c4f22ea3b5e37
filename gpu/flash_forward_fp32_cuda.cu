// The kernel as nvcc sees it.

#include "gpu/flash_forward_fp32.cuh"

namespace ringproof::on_cuda {

void flash_forward_fp32(const FlashParams& params, void* stream) { launch_flash_forward_fp32(params, stream); }

}  // namespace ringproof::on_cuda

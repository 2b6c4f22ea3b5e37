// The kernel as nvcc sees it.

#include "gpu/flash_forward_mma.cuh"

namespace ringproof::on_cuda {

void flash_forward_mma(const FlashParams& params, void* stream) { launch_flash_forward_mma(params, stream); }

}  // namespace ringproof::on_cuda

// The kernel as nvcc sees it.

#include "gpu/attention_fp64.cuh"

namespace ringproof::on_cuda {

void attention_fp64(const FlashParams& params, void* stream) { launch_attention_fp64(params, stream); }

}  // namespace ringproof::on_cuda

// The kernel as the host compiler sees it.

#include "gpu/attention_fp64.cuh"

namespace ringproof::SIMT_BACKEND {

void attention_fp64(const FlashParams& params, void* stream) { launch_attention_fp64(params, stream); }

}  // namespace ringproof::SIMT_BACKEND

// The kernel as the host compiler sees it. An edited copy of the .cuh (a mutant) is built by compiling this file with
// -DSIMT_BACKEND=<its name> and an include path on which the copy stands first.

#include "gpu/flash_forward_mma.cuh"

namespace ringproof::SIMT_BACKEND {

void flash_forward_mma(const FlashParams& params, void* stream);

void flash_forward_mma(const FlashParams& params, void* stream) { launch_flash_forward_mma(params, stream); }

}  // namespace ringproof::SIMT_BACKEND

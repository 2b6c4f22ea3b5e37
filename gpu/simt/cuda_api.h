#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "gpu/simt/cuda_check.h"

/// The device side of gpu/simt: a thin cover over CUDA with the same names as host_api.h.
namespace ringproof::simt::cuda {

/// The block's shared memory: smem_bytes of the launch, aligned to 128 bytes.
__device__ __forceinline__ unsigned char* dynamic_smem() {
  extern __shared__ __align__(128) unsigned char simt_dynamic_smem[];
  return simt_dynamic_smem;
}

/// Starts `kernel(args...)` on `stream` (a cudaStream_t). Throws Error when it cannot be started; errors of the run
/// itself show at the next synchronisation.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t smem_bytes, void* stream,
            const Args&... args) {
  constexpr std::size_t kSmemBytesWithoutAsking = 48 * 1024;
  if (smem_bytes > kSmemBytesWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(smem_bytes)),
          "cudaFuncSetAttribute(MaxDynamicSharedMemorySize)");
  }
  kernel<<<grid, block, smem_bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  check(cudaGetLastError(), "kernel launch");
}

}  // namespace ringproof::simt::cuda

#include "gpu/device.h"

#ifdef RINGPROOF_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace ringproof {

std::string cuda_device_name() {
#ifdef RINGPROOF_WITH_CUDA
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) == cudaSuccess) return properties.name;
  cudaGetLastError();  // a missing device is an answer, not an error of later calls
#endif
  return "none";
}

}  // namespace ringproof

#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "reference/spec/error.h"

namespace ringproof::simt::cuda {

/// Throws Error naming the failed call and its place when `status` is not success.
inline void check(cudaError_t status, const char* call, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (status == cudaSuccess) return;
  throw Error(std::string(call) + " failed: " + cudaGetErrorString(status) + " (" + file + ":" +
              std::to_string(line) + ")");
}

}  // namespace ringproof::simt::cuda

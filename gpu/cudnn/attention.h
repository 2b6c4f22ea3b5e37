#pragma once

#include <string>

#include "gpu/kernels.h"

namespace ringproof {

/// cuDNN's attention as a kernel to compare with, or why there is none.
struct CudnnAttention {
  FlashKernel kernel;  ///< runs on CUDA device 0 only; `describe` covers more than cudnn_not_asked_reason() lets by
  std::string missing_reason;  ///< empty: it can be asked
  std::string version;         ///< of libcudnn, "9.19.0"
};

/// Loads libcudnn, where it is. The first launch for a problem builds cuDNN's plan for it, later ones run it; a launch
/// throws Error with cuDNN's own words where cuDNN refuses, or where cudnn_not_asked_reason() has one.
/// `dtype` is bf16 or fp16.
CudnnAttention cudnn_attention(Dtype dtype);

}  // namespace ringproof

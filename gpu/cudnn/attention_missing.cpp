// In place of attention.cpp where the headers of cuDNN or of cudnn-frontend are not found.

#include "gpu/cudnn/attention.h"

namespace ringproof {

CudnnAttention cudnn_attention(Dtype) {
  CudnnAttention cudnn;
  cudnn.missing_reason = "this build has no cuDNN (cudnn.h or cudnn_frontend.h was not found)";
  return cudnn;
}

}  // namespace ringproof

#pragma once

#include <string>

#include "gpu/kernels.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Why no kernel can run on a GPU here ("no CUDA device", with what the driver said); empty when one can.
std::string device_missing_reason();

/// Copies the tensors, and what the problem shows of documents, blocks and a sink, to CUDA device 0, runs `kernel`
/// there on a stream of its own, waits, and copies out and lse back. The device sees the strides of the views, gaps
/// included, unless a tensor spans more than 1 GiB: then that tensor is dense there. Throws Error naming the call that
/// failed.
void run_on_device(const FlashKernel& kernel, const Problem& problem, const TensorView& q, const TensorView& k,
                   const TensorView& v, const TensorView& out, const TensorView* lse);

}  // namespace ringproof

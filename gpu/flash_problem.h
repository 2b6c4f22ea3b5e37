#pragma once

#include "gpu/flash_params.h"
#include "reference/spec/mask.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// The parameters of a flash kernel for these tensors: lengths and strides as the views have them. Requires fp32
/// tensors of fitting shapes; `lse` may be null. A tensor without elements gets strides 0, since its address may be
/// null.
FlashParams make_flash_params(const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
                              const TensorView* lse, const Band& band, double softmax_scale);

}  // namespace ringproof

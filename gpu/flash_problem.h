#pragma once

#include "gpu/flash_params.h"
#include "reference/spec/local_step.h"
#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// The parameters of a flash kernel for these tensors: lengths and strides as the views have them, the mask as the
/// problem has it (band, documents, blocks), with the pointers the problem shows. Requires tensors of fitting shapes,
/// q, k and v of one storage dtype, and that the problem's mask tables and sink are set; `lse` may be null. A tensor
/// without elements gets strides 0, since its address may be null. The workspace is left null.
FlashParams make_flash_params(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                              const TensorView& out, const TensorView* lse);

/// The same for a step of a ring: the band as the rank sees it.
FlashParams make_flash_params(const LocalProblem& problem, const TensorView& q, const TensorView& k,
                              const TensorView& v, const TensorView& out, const TensorView* lse);

}  // namespace ringproof

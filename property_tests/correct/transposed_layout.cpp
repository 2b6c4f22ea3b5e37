// Everything is copied to [sequence, batch, heads, dim] first, computed there through strides, and copied back: what a
// framework with another layout does around its kernel.

#include "property_tests/correct/kernel.h"
#include "property_tests/mutants/specimen_flash.h"

namespace ringproof::correct {
namespace {

// A tensor whose memory runs along the sequence first, and the view that names its axes as usual.
struct Transposed {
  Tensor memory;
  TensorView view;
  explicit Transposed(const TensorView& like)
      : memory(like.dtype, {like.shape[2], like.shape[0], like.shape[1], like.shape[3]}), view(memory.view()) {
    const Shape strides = view.stride;
    view.shape = like.shape;
    view.stride = {strides[1], strides[2], strides[0], strides[3]};
  }
};

Transposed copied(const TensorView& from) {
  Transposed to(from);
  copy_elements(from, to.view);
  return to;
}

}  // namespace

Candidate transposed_layout() {
  // What it computes with multiplies hidden values by zero.
  const Declared declared{.dtypes = bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16),
                          .not_claimed = kNanSafeUnseen | kNanSafeHidden};
  Candidate candidate;
  candidate.name = "transposed_layout";
  candidate.describe = [declared](Dtype asked, Direction) { return description_of(declared, asked); };
  candidate.forward = [](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                         const TensorView& out, const TensorView* lse, void*) {
    const Transposed q_here = copied(q), k_here = copied(k), v_here = copied(v), out_here(out);
    const Tensor lse_here(dtype_of_lse(problem.dtype), problem.shape_lse());
    specimen_flash_forward(problem, q_here.view, k_here.view, v_here.view, out_here.view, lse_here.view());
    copy_elements(out_here.view, out);
    if (lse != nullptr) copy_elements(lse_here.view(), *lse);
    return Status::kOk;
  };
  return candidate;
}

}  // namespace ringproof::correct

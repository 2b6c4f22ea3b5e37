// From a problem and its views to the plain numbers a kernel takes. A band may reach as far as 2^61 and beyond; kernels
// add rows to it, so that both ends are brought into -seqlen_q .. seqlen_kv, from where every row sees the same keys.

#include "gpu/flash_problem.h"

#include <algorithm>
#include <cstdint>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

void* place(const TensorView& view, std::int64_t* stride, int axes) {
  const bool empty = std::find(view.shape.begin(), view.shape.end(), 0) != view.shape.end();
  for (int axis = 0; axis < axes; ++axis) stride[axis] = empty ? 0 : view.stride[static_cast<std::size_t>(axis)];
  return view.data;
}

FlashParams params_of_tensors(const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
                              const TensorView* lse) {
  FlashParams params{};
  params.q = place(q, params.q_stride, 4);
  params.k = place(k, params.k_stride, 4);
  params.v = place(v, params.v_stride, 4);
  params.out = place(out, params.out_stride, 4);
  if (lse != nullptr) params.lse = place(*lse, params.lse_stride, 3);
  params.dtype = q.dtype;
  params.out_dtype = out.dtype;
  params.batch = q.shape[0];
  params.heads_q = q.shape[1];
  params.heads_kv = k.shape[1];
  params.seqlen_q = q.shape[2];
  params.seqlen_kv = k.shape[2];
  params.head_dim_qk = q.shape[3];
  params.head_dim_v = v.shape[3];
  const Shape want_k = {q.shape[0], k.shape[1], k.shape[2], q.shape[3]};
  const Shape want_v = {q.shape[0], k.shape[1], k.shape[2], v.shape[3]};
  const Shape want_out = {q.shape[0], q.shape[1], q.shape[2], v.shape[3]};
  assert_that(k.shape == want_k && v.shape == want_v && out.shape == want_out, "shapes of q, k, v and out must fit");
  assert_that(k.dtype == q.dtype && v.dtype == q.dtype, "q, k and v must have one storage dtype");
  assert_that(lse == nullptr || lse->dtype == (q.dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32),
              "lse must be fp32, fp64 beside fp64 storage");
  assert_that(params.heads_kv > 0 && params.heads_q % params.heads_kv == 0,
              "the count of query heads must be a multiple of the count of kv heads");
  return params;
}

void set_band(FlashParams& params, const Band& band) {
  params.band_lo = std::clamp(band.lo, -params.seqlen_q, params.seqlen_kv);
  params.band_hi = std::clamp(band.hi, -params.seqlen_q, params.seqlen_kv);
}

}  // namespace

FlashParams make_flash_params(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                              const TensorView& out, const TensorView* lse) {
  FlashParams params = params_of_tensors(q, k, v, out, lse);
  const Mask& mask = problem.mask;
  set_band(params, {-kUnbounded, kUnbounded});
  if (mask.kind == MaskKind::kDocument) {
    assert_that(problem.cu_seqlens_q != nullptr && problem.cu_seqlens_kv != nullptr, "documents need their tables");
    params.document_starts_q = problem.cu_seqlens_q;
    params.document_starts_kv = problem.cu_seqlens_kv;
    params.documents = static_cast<std::int64_t>(mask.document_lengths_q.size());
    params.document_causal = mask.document_causal;
  } else if (mask.kind == MaskKind::kBlockSparse) {
    const bool has_tiles = problem.seqlen_q > 0 && problem.seqlen_kv > 0;
    assert_that(problem.block_mask != nullptr || !has_tiles, "a block_sparse mask needs its flags");
    params.block_mask = problem.block_mask;
    params.block_q = mask.block_q;
    params.block_kv = mask.block_kv;
  } else {
    set_band(params, band_of(mask, problem.seqlen_q, problem.seqlen_kv));
  }
  assert_that(!problem.has_sink || problem.sink != nullptr, "a sink needs its logits");
  params.sink = problem.has_sink ? problem.sink : nullptr;
  params.scale = problem.softmax_scale;
  params.softcap = problem.softcap;
  return params;
}

FlashParams make_flash_params(const LocalProblem& problem, const TensorView& q, const TensorView& k,
                              const TensorView& v, const TensorView& out, const TensorView* lse) {
  FlashParams params = params_of_tensors(q, k, v, out, lse);
  set_band(params, problem.band);
  params.document_starts_q = problem.cu_seqlens_q;
  params.document_starts_kv = problem.cu_seqlens_kv;
  params.documents = problem.documents;
  params.block_mask = problem.block_mask;
  params.block_q = problem.block_q;
  params.block_kv = problem.block_kv;
  params.scale = problem.softmax_scale;
  params.softcap = problem.softcap;
  params.sink = problem.sink;
  return params;
}

}  // namespace ringproof

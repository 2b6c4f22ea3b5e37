// From views and a band to the plain numbers a kernel takes.

#include "gpu/flash_problem.h"

#include <algorithm>
#include <cstdint>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

float* place(const TensorView& view, std::int64_t* stride, int axes) {
  assert_that(view.dtype == Dtype::kF32, "a flash kernel in fp32 takes fp32 tensors");
  const bool empty = std::find(view.shape.begin(), view.shape.end(), 0) != view.shape.end();
  for (int axis = 0; axis < axes; ++axis) stride[axis] = empty ? 0 : view.stride[static_cast<std::size_t>(axis)];
  return static_cast<float*>(view.data);
}

}  // namespace

FlashParams make_flash_params(const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out,
                              const TensorView* lse, const Band& band, double softmax_scale) {
  FlashParams params{};
  params.q = place(q, params.q_stride, 4);
  params.k = place(k, params.k_stride, 4);
  params.v = place(v, params.v_stride, 4);
  params.out = place(out, params.out_stride, 4);
  if (lse != nullptr) params.lse = place(*lse, params.lse_stride, 3);
  params.batch = q.shape[0];
  params.heads_q = q.shape[1];
  params.heads_kv = k.shape[1];
  params.seqlen_q = q.shape[2];
  params.seqlen_kv = k.shape[2];
  params.head_dim_qk = q.shape[3];
  params.head_dim_v = v.shape[3];
  params.band_lo = band.lo;
  params.band_hi = band.hi;
  params.scale = static_cast<float>(softmax_scale);
  const Shape want_k = {q.shape[0], k.shape[1], k.shape[2], q.shape[3]};
  const Shape want_v = {q.shape[0], k.shape[1], k.shape[2], v.shape[3]};
  const Shape want_out = {q.shape[0], q.shape[1], q.shape[2], v.shape[3]};
  assert_that(k.shape == want_k && v.shape == want_v && out.shape == want_out, "shapes of q, k, v and out must fit");
  assert_that(params.heads_kv > 0 && params.heads_q % params.heads_kv == 0,
              "the count of query heads must be a multiple of the count of kv heads");
  return params;
}

}  // namespace ringproof

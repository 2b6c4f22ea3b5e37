// With a the side of the larger lse and b the other, w = exp(lse_b - lse_a) <= 1:
//
//     lse = lse_a + log1p(w)          O = O_a / (1 + w) + O_b w / (1 + w)
//
// The weighted form. Its error is relative to each term, 4u + e_exp + 3u_L of R1 per merge, however small one weight
// is; the shorter O_a - sigmoid(lse_b - lse_a) (O_a - O_b) keeps an absolute error u |O_a| even where a's true weight
// vanishes. Only differences of lse that are <= 0 are exponentiated, so nothing overflows.

#include "distributed/merge.h"

#include <cmath>
#include <limits>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

template <class T>
struct Weights {
  T running, other, lse;
};

template <class T>
Weights<T> weights_of(T lse, T lse_b) {
  const T weight_of_smaller = std::exp(-std::abs(lse - lse_b));
  const T sum = T{1} + weight_of_smaller;
  const T larger = T{1} / sum;
  const T smaller = weight_of_smaller / sum;
  const bool running_is_larger = lse >= lse_b;
  return {running_is_larger ? larger : smaller, running_is_larger ? smaller : larger,
          (running_is_larger ? lse : lse_b) + std::log1p(weight_of_smaller)};
}

template <class T>
void merge_row(T* out, std::int64_t stride, T& lse, const T* out_b, std::int64_t stride_b, T lse_b, std::int64_t dims) {
  constexpr T kEmpty = -std::numeric_limits<T>::infinity();
  if (lse_b == kEmpty) return;
  if (lse == kEmpty) {
    for (std::int64_t c = 0; c < dims; ++c) out[c * stride] = out_b[c * stride_b];
    lse = lse_b;
    return;
  }
  const Weights<T> weights = weights_of(lse, lse_b);
  for (std::int64_t c = 0; c < dims; ++c) {
    out[c * stride] = weights.running * out[c * stride] + weights.other * out_b[c * stride_b];
  }
  lse = weights.lse;
}

template <class T>
void merge_rows(const TensorView& out, const TensorView& lse, const TensorView& out_b, const TensorView& lse_b) {
  const auto element = [](const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row) {
    return static_cast<T*>(view.data) + view.offset(b, h, row, 0);
  };
  for (std::int64_t b = 0; b < out.shape[0]; ++b) {
    for (std::int64_t h = 0; h < out.shape[1]; ++h) {
      for (std::int64_t row = 0; row < out.shape[2]; ++row) {
        merge_row<T>(element(out, b, h, row), out.stride[3], *element(lse, b, h, row), element(out_b, b, h, row),
                     out_b.stride[3], *element(lse_b, b, h, row), out.shape[3]);
      }
    }
  }
}

template <class T>
void merge_sink_of_rows(const TensorView& out, const TensorView& lse, const float* sink) {
  const T zero = 0;
  for (std::int64_t b = 0; b < out.shape[0]; ++b) {
    for (std::int64_t h = 0; h < out.shape[1]; ++h) {
      for (std::int64_t row = 0; row < out.shape[2]; ++row) {
        merge_row<T>(static_cast<T*>(out.data) + out.offset(b, h, row, 0), out.stride[3],
                     static_cast<T*>(lse.data)[lse.offset(b, h, row, 0)], &zero, 0, static_cast<T>(sink[h]),
                     out.shape[3]);
      }
    }
  }
}

}  // namespace

void merge_partial(const TensorView& out, const TensorView& lse, const TensorView& out_b, const TensorView& lse_b) {
  const Shape shape_lse{out.shape[0], out.shape[1], out.shape[2], 1};
  assert_that(out.shape == out_b.shape && lse.shape == shape_lse && lse_b.shape == shape_lse,
              "partials that merge have equal shapes");
  assert_that(out.dtype == out_b.dtype && out.dtype == lse.dtype && out.dtype == lse_b.dtype,
              "partials that merge have one dtype");
  assert_that(out.dtype == Dtype::kF32 || out.dtype == Dtype::kF64, "partials are fp32 or fp64");
  out.dtype == Dtype::kF32 ? merge_rows<float>(out, lse, out_b, lse_b) : merge_rows<double>(out, lse, out_b, lse_b);
}

void merge_sink(const TensorView& out, const TensorView& lse, const float* sink) {
  assert_that(out.dtype == lse.dtype && (out.dtype == Dtype::kF32 || out.dtype == Dtype::kF64),
              "partials are fp32 or fp64");
  out.dtype == Dtype::kF32 ? merge_sink_of_rows<float>(out, lse, sink) : merge_sink_of_rows<double>(out, lse, sink);
}

}  // namespace ringproof

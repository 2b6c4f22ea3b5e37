#include "reference/spec/tensor.h"

#include <cstring>

#include "reference/spec/error.h"

namespace ringproof {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    assert_that(extent >= 0, "a shape has no negative extent");
    assert_that(!__builtin_mul_overflow(count, extent, &count), "a shape's element count fits 64 bits");
  }
  return count;
}

Shape dense_strides(const Shape& shape) { return {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1}; }

Tensor::Tensor(Dtype dtype, const Shape& shape)
    : dtype_(dtype), shape_(shape), bytes_(static_cast<std::size_t>(element_count(shape)) * size_bytes(dtype)) {}

TensorView Tensor::view() const { return {bytes_.data(), dtype_, -1, shape_, dense_strides(shape_)}; }

void copy_elements(const TensorView& from, const TensorView& to) {
  assert_that(from.dtype == to.dtype && from.shape == to.shape, "elements are copied between equal shapes and dtypes");
  assert_that(from.device < 0 && to.device < 0, "elements are copied in host memory");
  const std::size_t bytes = size_bytes(from.dtype);
  const bool rows_are_dense = from.stride[3] == 1 && to.stride[3] == 1;
  for (std::int64_t b = 0; b < from.shape[0]; ++b) {
    for (std::int64_t h = 0; h < from.shape[1]; ++h) {
      for (std::int64_t s = 0; s < from.shape[2]; ++s) {
        if (rows_are_dense && from.shape[3] > 0) {
          std::memcpy(to.at(b, h, s, 0), from.at(b, h, s, 0), bytes * static_cast<std::size_t>(from.shape[3]));
          continue;
        }
        for (std::int64_t d = 0; d < from.shape[3]; ++d) std::memcpy(to.at(b, h, s, d), from.at(b, h, s, d), bytes);
      }
    }
  }
}

}  // namespace ringproof

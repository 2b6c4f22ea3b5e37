#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "reference/spec/dtype.h"

namespace ringproof {

/// The axes of every tensor here, in this order: batch, heads, sequence, dim.
using Shape = std::array<std::int64_t, 4>;

/// Elements a tensor of this shape has. Requires no negative extent and no overflow (validate() has seen to
/// both).
std::int64_t element_count(const Shape& shape);

/// A strided view of memory somebody else owns: the C++ twin of rp_tensor.
///
/// `stride` counts elements; 0 broadcasts (inputs only); a tensor without elements may have data == nullptr.
/// lse has shape [batch, heads_q, seqlen_q, 1] and its last stride means nothing.
struct TensorView {
  void* data = nullptr;
  Dtype dtype = Dtype::kDefault;
  int device = -1;  ///< -1 host memory, else the CUDA ordinal
  Shape shape{};
  Shape stride{};

  std::int64_t offset(std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t column) const {
    return batch * stride[0] + head * stride[1] + row * stride[2] + column * stride[3];
  }
  /// Address of one element. The caller stays inside `shape`.
  std::byte* at(std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t column) const {
    return static_cast<std::byte*>(data) +
           offset(batch, head, row, column) * static_cast<std::int64_t>(size_bytes(dtype));
  }
  double load(std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t column) const {
    return ringproof::load(at(batch, head, row, column), dtype);
  }
  void store(std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t column, double value) const {
    ringproof::store(at(batch, head, row, column), dtype, value);
  }
};

/// Strides of a dense tensor in axis order batch, heads, sequence, dim.
Shape dense_strides(const Shape& shape);

/// A dense tensor in host memory that owns its elements (all zero bits at first). Copies share nothing.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Dtype dtype, const Shape& shape);

  /// A view that stays valid while this Tensor lives and is not assigned to. Writing through it writes the
  /// tensor.
  TensorView view() const;
  Dtype dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  Dtype dtype_ = Dtype::kF64;
  Shape shape_{};
  mutable std::vector<std::byte> bytes_;
};

/// Copies every element of `from` to the same index of `to`, bit for bit.
/// Requires equal dtypes and shapes, both in host memory.
void copy_elements(const TensorView& from, const TensorView& to);

}  // namespace ringproof

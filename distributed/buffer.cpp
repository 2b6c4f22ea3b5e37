// Where a buffer's elements lie is a matter of strides alone: every local step and every merge takes any strides, so a
// buffer can have the order in which its blocks arrive.

#include "distributed/buffer.h"

#include <cstddef>

namespace ringproof {
namespace {

Buffer with_strides(Communicator& communicator, const std::string& name, Dtype dtype, const Shape& shape,
                    const Shape& stride) {
  const auto bytes = static_cast<std::size_t>(element_count(shape)) * size_bytes(dtype);
  Buffer buffer{communicator.allocate(bytes), {nullptr, dtype, -1, shape, stride}};
  buffer.view.data = buffer.memory.get();
  communicator.name_memory({buffer.memory.get(), bytes}, name);
  return buffer;
}

}  // namespace

Buffer make_buffer(Communicator& communicator, const std::string& name, Dtype dtype, const Shape& shape) {
  return with_strides(communicator, name, dtype, shape, dense_strides(shape));
}

Buffer make_buffer_by_token(Communicator& communicator, const std::string& name, Dtype dtype, const Shape& shape) {
  const auto [batch, heads, rows, dim] = shape;
  return with_strides(communicator, name, dtype, shape, {heads * dim, dim, batch * heads * dim, 1});
}

std::int64_t bytes_per_token(const TensorView& view) {
  return view.shape[0] * view.shape[1] * view.shape[3] * static_cast<std::int64_t>(size_bytes(view.dtype));
}

std::span<const std::byte> memory_of(const TensorView& view) {
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    if (view.shape[axis] == 0) return {};
    last += (view.shape[axis] - 1) * view.stride[axis];
  }
  return {static_cast<const std::byte*>(view.data), static_cast<std::size_t>(last + 1) * size_bytes(view.dtype)};
}

std::span<std::byte> writable_memory_of(const TensorView& view) {
  return {static_cast<std::byte*>(view.data), memory_of(view).size()};
}

TensorView rows_of(TensorView view, std::int64_t begin, std::int64_t count) {
  if (view.data != nullptr) view.data = view.at(0, 0, begin, 0);
  view.shape[2] = count;
  return view;
}

TensorView heads_of(TensorView view, std::int64_t begin, std::int64_t count) {
  if (view.data != nullptr) view.data = view.at(0, begin, 0, 0);
  view.shape[1] = count;
  return view;
}

}  // namespace ringproof

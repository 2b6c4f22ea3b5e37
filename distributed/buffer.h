#pragma once

#include <memory>
#include <span>
#include <string>

#include "distributed/communicator.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// A tensor in memory of a Communicator. Copies share the elements.
struct Buffer {
  std::shared_ptr<std::byte> memory;
  TensorView view;
};

/// A dense tensor of zero bits; `name` is what reports call it.
Buffer make_buffer(Communicator& communicator, const std::string& name, Dtype dtype, const Shape& shape);

/// The same with the sequence outermost, so that a run of tokens is one piece of memory, which can be sent or received
/// as it lies: rows [i, j) take bytes [i, j) times bytes_per_token(view).
Buffer make_buffer_by_token(Communicator& communicator, const std::string& name, Dtype dtype, const Shape& shape);

/// Bytes of one token of all batches and heads.
std::int64_t bytes_per_token(const TensorView& view);

/// From the first to behind the last byte a view reaches; nothing for a view without elements.
std::span<const std::byte> memory_of(const TensorView& view);
std::span<std::byte> writable_memory_of(const TensorView& view);

/// Rows [begin, begin + count) of a view.
TensorView rows_of(TensorView view, std::int64_t begin, std::int64_t count);

/// Heads [begin, begin + count) of a view.
TensorView heads_of(TensorView view, std::int64_t begin, std::int64_t count);

}  // namespace ringproof

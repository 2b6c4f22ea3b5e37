// A row is the run of one token's head_dim elements. It takes dim * dim_stride elements, plus the gap; the
// other axes step over whole rows in the order named. huge_seq puts the sequence outside the heads and the batch, and
// huge_batch the batch outside all, so that strides beyond 2^31 elements leave the other axes where they are.

#include "reference/spec/layout.h"

#include <array>
#include <utility>

namespace ringproof {
namespace {

// Beyond what 31 bits hold; in 32 bits it would be negative, and a product with an even index small.
constexpr std::int64_t kHugeElements = std::int64_t{1} << 31;

// With `mixed`, K and O lie in the other axis order, K and V gain gaps, V strides by 2 and O has a gap of its
// own. With `alias`, K and V lie as Q, because they are Q.
Memory memory_of(Memory memory, TensorRole role) {
  if (memory.alias && (role == TensorRole::kK || role == TensorRole::kV)) role = TensorRole::kQ;
  if (!memory.mixed) return memory;
  const AxisOrder other = memory.order == AxisOrder::kBhsd ? AxisOrder::kBshd : AxisOrder::kBhsd;
  if (role == TensorRole::kK || role == TensorRole::kOut) memory.order = other;
  if (role == TensorRole::kK) memory.gap += 8;
  if (role == TensorRole::kV) memory.dim2 = true;
  if (role == TensorRole::kOut) memory.gap += 5;
  return memory;
}

}  // namespace

StridedLayout lay_out(const Memory& whole, TensorRole role, const Shape& shape) {
  const Memory memory = memory_of(whole, role);
  const bool is_lse = role == TensorRole::kLse;
  const std::int64_t dim_stride = memory.dim2 && !is_lse ? 2 : 1;
  const std::int64_t row = shape[3] * dim_stride + (is_lse ? 0 : memory.gap);
  const bool broadcast = memory.broadcast_kv && (role == TensorRole::kK || role == TensorRole::kV);
  const std::int64_t heads = broadcast ? 1 : shape[1];
  const bool heads_outside = memory.order == AxisOrder::kBhsd;
  const std::int64_t head_stride = broadcast ? 0 : heads_outside ? shape[2] * row : row;
  const std::int64_t row_stride = heads_outside ? row : heads * row;
  StridedLayout layout{{heads * shape[2] * row, head_stride, row_stride, dim_stride}, 0};
  if (memory.huge_seq) {
    const std::int64_t of_batch = heads * row + (memory.huge_batch ? kHugeElements : 0);
    const std::int64_t of_row = shape[0] * of_batch + (memory.huge_batch ? 0 : kHugeElements);
    layout.stride = {of_batch, broadcast ? 0 : row, of_row, dim_stride};
  } else if (memory.huge_batch) {
    layout.stride[0] += kHugeElements;
  }
  if (element_count(shape) == 0) return layout;
  for (int axis = 0; axis < 4; ++axis) layout.span += (shape[axis] - 1) * layout.stride[axis];
  ++layout.span;
  return layout;
}

std::string to_string(const Memory& memory) {
  static constexpr std::array kOrders{"bhsd", "bshd", "thd"};
  std::string text = kOrders.at(static_cast<std::size_t>(memory.order));
  if (memory.gap) text += "+gap" + std::to_string(memory.gap);
  for (const auto& [set, name] : {std::pair{memory.broadcast_kv, "+broadcast_kv"}, std::pair{memory.dim2, "+dim2"},
                                  std::pair{memory.huge_batch, "+huge_batch"}, std::pair{memory.huge_seq, "+huge_seq"},
                                  std::pair{memory.page_end, "+page_end"}, std::pair{memory.mixed, "+mixed"},
                                  std::pair{memory.alias, "+alias"}, std::pair{memory.v_in_k, "+v_in_k"}}) {
    if (set) text += name;
  }
  return memory.nan_level ? text + "+nan" + std::to_string(memory.nan_level) : text;
}

}  // namespace ringproof

#include "reference/spec/layout.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace ringproof {
namespace {

constexpr TensorRole kRoles[]{TensorRole::kQ, TensorRole::kK, TensorRole::kV, TensorRole::kOut, TensorRole::kLse};

std::vector<Memory> memories() {
  std::vector<Memory> all;
  for (const AxisOrder order : {AxisOrder::kBhsd, AxisOrder::kBshd, AxisOrder::kThd}) {
    for (const std::int64_t gap : {0, 3}) {
      for (const bool broadcast : {false, true}) {
        for (const bool dim2 : {false, true}) {
          for (const bool mixed : {false, true}) {
            Memory memory;
            memory.order = order, memory.gap = gap, memory.broadcast_kv = broadcast, memory.dim2 = dim2;
            memory.mixed = mixed;
            all.push_back(memory);
          }
        }
      }
    }
  }
  return all;
}

// Every element's offset, in dense order.
std::vector<std::int64_t> offsets(const StridedLayout& layout, const Shape& shape) {
  const TensorView view{nullptr, Dtype::kF32, -1, shape, layout.stride};
  std::vector<std::int64_t> all;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t s = 0; s < shape[2]; ++s) {
        for (std::int64_t d = 0; d < shape[3]; ++d) all.push_back(view.offset(b, h, s, d));
      }
    }
  }
  return all;
}

TEST(Layout, ElementsNeverOverlapAndTheSpanIsExact) {
  const Shape shape{2, 3, 5, 4};
  for (const Memory& memory : memories()) {
    for (const TensorRole role : kRoles) {
      const Shape own = role == TensorRole::kLse ? Shape{2, 3, 5, 1} : shape;
      const StridedLayout layout = lay_out(memory, role, own);
      const std::vector<std::int64_t> all = offsets(layout, own);
      const std::set<std::int64_t> distinct(all.begin(), all.end());
      const bool shared = memory.broadcast_kv && (role == TensorRole::kK || role == TensorRole::kV);
      EXPECT_EQ(distinct.size() * (shared ? 3 : 1), all.size()) << to_string(memory);
      EXPECT_EQ(*distinct.begin(), 0) << to_string(memory);
      EXPECT_EQ(*distinct.rbegin() + 1, layout.span) << to_string(memory);
      EXPECT_EQ(shared, layout.stride[1] == 0) << to_string(memory);
    }
  }
}

TEST(Layout, AxisOrdersAreThoseOfTheirNames) {
  const Shape shape{2, 3, 5, 4};
  EXPECT_EQ(lay_out({AxisOrder::kBhsd}, TensorRole::kQ, shape).stride, dense_strides(shape));
  EXPECT_EQ(lay_out({AxisOrder::kBshd}, TensorRole::kQ, shape).stride, (Shape{60, 4, 12, 1}));
  EXPECT_EQ(lay_out({AxisOrder::kThd}, TensorRole::kQ, shape).stride, (Shape{60, 4, 12, 1}));
  Memory gap{AxisOrder::kBhsd, 3};
  EXPECT_EQ(lay_out(gap, TensorRole::kQ, shape).stride, (Shape{105, 35, 7, 1}));
  gap.dim2 = true;
  EXPECT_EQ(lay_out(gap, TensorRole::kQ, shape).stride, (Shape{165, 55, 11, 2}));
}

TEST(Layout, LseIsDenseInTheOrderGiven) {
  Memory memory{AxisOrder::kBshd, 7};
  memory.dim2 = true;
  const StridedLayout layout = lay_out(memory, TensorRole::kLse, {2, 3, 5, 1});
  EXPECT_EQ(layout.stride, (Shape{15, 1, 3, 1}));
  EXPECT_EQ(layout.span, 30);
}

TEST(Layout, MixedLaysTheTensorsOutDifferently) {
  Memory memory;
  memory.mixed = true;
  const Shape shape{2, 3, 5, 4};
  std::set<Shape> distinct;
  for (const TensorRole role : {TensorRole::kQ, TensorRole::kK, TensorRole::kV, TensorRole::kOut}) {
    distinct.insert(lay_out(memory, role, shape).stride);
  }
  EXPECT_EQ(distinct.size(), 4u);
}

TEST(Layout, ATensorWithoutElementsSpansNothing) {
  for (const Memory& memory : memories()) {
    EXPECT_EQ(lay_out(memory, TensorRole::kK, {2, 3, 0, 4}).span, 0) << to_string(memory);
  }
}

TEST(Layout, WithHugeStridesLeavesTheOtherAxesClose) {
  const Shape shape{2, 3, 5, 8};
  Memory memory;
  memory.gap = 2;
  const Shape usual = lay_out(memory, TensorRole::kQ, shape).stride;
  memory.huge_batch = true;
  EXPECT_EQ(lay_out(memory, TensorRole::kQ, shape).stride,
            (Shape{usual[0] + (std::int64_t{1} << 31), usual[1], usual[2], usual[3]}));
  memory.huge_batch = false;
  memory.huge_seq = true;
  EXPECT_EQ(lay_out(memory, TensorRole::kQ, shape).stride, (Shape{30, 10, 60 + (std::int64_t{1} << 31), 1}));
  memory.broadcast_kv = true;
  EXPECT_EQ(lay_out(memory, TensorRole::kK, shape).stride, (Shape{10, 0, 20 + (std::int64_t{1} << 31), 1}));
  memory.huge_batch = true;
  EXPECT_EQ(lay_out(memory, TensorRole::kLse, {2, 3, 5, 1}).stride[2],
            2 * lay_out(memory, TensorRole::kLse, {2, 3, 5, 1}).stride[0]);
}

}  // namespace
}  // namespace ringproof

#include "distributed/merge.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Partial {
  std::vector<double> out;
  double lse;
};

// One row of each side, stored in `dtype`, merged.
Partial merged(Dtype dtype, const Partial& running, const Partial& other) {
  const auto dims = static_cast<std::int64_t>(running.out.size());
  const Tensor out(dtype, {1, 1, 1, dims}), out_b(dtype, {1, 1, 1, dims});
  const Tensor lse(dtype, {1, 1, 1, 1}), lse_b(dtype, {1, 1, 1, 1});
  for (std::int64_t c = 0; c < dims; ++c) {
    out.view().store(0, 0, 0, c, running.out[static_cast<std::size_t>(c)]);
    out_b.view().store(0, 0, 0, c, other.out[static_cast<std::size_t>(c)]);
  }
  lse.view().store(0, 0, 0, 0, running.lse);
  lse_b.view().store(0, 0, 0, 0, other.lse);
  merge_partial(out.view(), lse.view(), out_b.view(), lse_b.view());
  Partial got{{}, lse.view().load(0, 0, 0, 0)};
  for (std::int64_t c = 0; c < dims; ++c) got.out.push_back(out.view().load(0, 0, 0, c));
  return got;
}

class Merging : public testing::TestWithParam<Dtype> {};
INSTANTIATE_TEST_SUITE_P(PartialDtypes, Merging, testing::Values(Dtype::kF32, Dtype::kF64),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST_P(Merging, EqualWeightsGiveTheMeanExactly) {
  const Partial got = merged(GetParam(), {{1, -6, 0.5}, 3}, {{2, 2, -0.5}, 3});
  EXPECT_EQ(got.out, (std::vector<double>{1.5, -2, 0}));
  EXPECT_EQ(got.lse, GetParam() == Dtype::kF32 ? 3.0F + std::log1p(1.0F) : 3.0 + std::log1p(1.0));
}

TEST_P(Merging, AnEmptyRunningSideTakesThePartialOverBitForBit) {
  const double third = round_to(GetParam(), 1.0 / 3), lse = round_to(GetParam(), 0.1);
  const Partial got = merged(GetParam(), {{0, 0}, -kInfinity}, {{third, -0.0}, lse});
  EXPECT_EQ(got.out[0], third);
  EXPECT_TRUE(std::signbit(got.out[1]));
  EXPECT_EQ(got.lse, lse);
}

TEST_P(Merging, AnEmptyPartialLeavesTheRunningSideBitForBit) {
  const double third = round_to(GetParam(), 1.0 / 3), lse = round_to(GetParam(), 0.1);
  const Partial got = merged(GetParam(), {{third, -0.0}, lse}, {{0, 0}, -kInfinity});
  EXPECT_EQ(got.out[0], third);
  EXPECT_TRUE(std::signbit(got.out[1]));
  EXPECT_EQ(got.lse, lse);
}

TEST_P(Merging, TwoEmptySidesStayEmpty) {
  const Partial got = merged(GetParam(), {{0, 0}, -kInfinity}, {{0, 0}, -kInfinity});
  EXPECT_EQ(got.out, (std::vector<double>{0, 0}));
  EXPECT_EQ(got.lse, -kInfinity);
}

TEST_P(Merging, HugeLseOfEitherSignNeverOverflows) {
  for (const double lse : {1e4, -1e4, 1e30, -1e30}) {
    const double stored = round_to(GetParam(), lse);
    const Partial equal = merged(GetParam(), {{1}, lse}, {{3}, lse});
    EXPECT_EQ(equal.out[0], 2) << lse;
    const Partial dominated = merged(GetParam(), {{1}, -1e30}, {{3}, lse});
    EXPECT_EQ(dominated.out[0], lse == -1e30 ? 2 : 3) << lse;
    EXPECT_EQ(merged(GetParam(), {{5}, lse}, {{3}, lse - 1e5 - std::abs(lse)}).lse, stored) << lse;
  }
}

TEST_P(Merging, TheOrderOfTheSidesDoesNotMatter) {
  const Partial a{{0.3, -7}, 2.25}, b{{11, 0.7}, -1.5};
  const Partial ab = merged(GetParam(), a, b), ba = merged(GetParam(), b, a);
  EXPECT_EQ(ab.out, ba.out);
  EXPECT_EQ(ab.lse, ba.lse);
}

// Three keys of value 8 and one of value 0: the mean and the count are integers, which rounding to integers recovers.
TEST_P(Merging, AKeyCountOfEachSideWeighsItsMean) {
  const Partial got = merged(GetParam(), {{8}, std::log(3.0)}, {{0}, std::log(1.0)});
  EXPECT_EQ(std::lround(got.out[0]), 6);
  EXPECT_EQ(std::lround(std::exp(got.lse)), 4);
}

TEST_P(Merging, NanOfASideWithKeysPropagates) {
  EXPECT_TRUE(std::isnan(merged(GetParam(), {{kNan, 1}, 0}, {{1, 1}, 0}).out[0]));
  EXPECT_EQ(merged(GetParam(), {{kNan, 1}, 0}, {{1, 1}, 0}).out[1], 1);
  EXPECT_TRUE(std::isnan(merged(GetParam(), {{1, 1}, 1e4}, {{kNan, 1}, -1e4}).out[0]));
  for (const Partial& bad : {Partial{{kNan}, kNan}, Partial{{kNan}, kInfinity}, Partial{{1}, kNan}}) {
    for (const double lse : {0.0, 1e4, -kInfinity}) {
      EXPECT_FALSE(std::isfinite(merged(GetParam(), {{lse == -kInfinity ? 0.0 : 1.0}, lse}, bad).lse));
      EXPECT_FALSE(std::isfinite(merged(GetParam(), bad, {{lse == -kInfinity ? 0.0 : 1.0}, lse}).lse));
      const Partial got = merged(GetParam(), bad, {{1}, lse});
      EXPECT_EQ(std::isnan(got.out[0]), lse != -kInfinity || std::isnan(bad.out[0]));
    }
  }
}

TEST_P(Merging, StridedViewsMergeAsDenseOnesDo) {
  const Dtype dtype = GetParam();
  const Tensor out(dtype, {2, 3, 4, 10}), lse(dtype, {2, 3, 4, 2}), out_b(dtype, {2, 3, 4, 5}),
      lse_b(dtype, {2, 3, 4, 1});
  TensorView strided = out.view(), strided_lse = lse.view();
  strided.shape[3] = 5;
  strided.stride[3] = 2;
  strided_lse.shape[3] = 1;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t h = 0; h < 3; ++h) {
      for (std::int64_t row = 0; row < 4; ++row) {
        for (std::int64_t c = 0; c < 5; ++c) {
          strided.store(b, h, row, c, static_cast<double>(b + 2 * c));
          out_b.view().store(b, h, row, c, static_cast<double>(b + 2 * h + 2 * row));
        }
      }
    }
  }
  merge_partial(strided, strided_lse, out_b.view(), lse_b.view());
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t h = 0; h < 3; ++h) {
      for (std::int64_t row = 0; row < 4; ++row) {
        for (std::int64_t c = 0; c < 5; ++c) {
          EXPECT_EQ(strided.load(b, h, row, c), static_cast<double>(b + c + h + row));
          EXPECT_EQ(out.view().load(b, h, row, 2 * c + 1), 0) << "an element beside the view was written";
        }
      }
    }
  }
}

TEST(MergingDeathTest, PartialsOfDifferentDtypesBreakAPromise) {
  const Tensor wide(Dtype::kF64, {1, 1, 1, 1}), narrow(Dtype::kF32, {1, 1, 1, 1});
  EXPECT_DEATH(merge_partial(wide.view(), wide.view(), narrow.view(), narrow.view()), "one dtype");
}

}  // namespace
}  // namespace ringproof

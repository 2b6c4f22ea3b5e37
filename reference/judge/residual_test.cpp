#include "reference/judge/residual.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What is summed in another order agrees to single precision's bits.
float single(double x) { return static_cast<float>(x); }

TEST(Residual, IsSignedAndZeroWhereInfinityIsRight) {
  EXPECT_EQ(residual(Dtype::kF32, 1, 0, 0.75, 1), -0.25);
  EXPECT_EQ(residual(Dtype::kF32, 1, 0.5, 2, 1), 0.5);
  EXPECT_EQ(residual(Dtype::kF32, -kInfinity, 0, -kInfinity, 0), 0);
  EXPECT_EQ(residual(Dtype::kF16, 65519, 0, kInfinity, 1), 0);
  EXPECT_EQ(residual(Dtype::kF16, 65519, 0, -kInfinity, 1), -kInfinity);
  EXPECT_TRUE(std::isnan(residual(Dtype::kF16, 1, 0, std::nan(""), 1)));
}

// Two keys of weight 1/2 with values 1 and -3: O = -1, sum p^2 v^2 = 2.5, sum p^2 v = -0.5, variance 4.
TEST(Sigma, HoldsTheRoundingsOfPOAndOneSum) {
  const Problem problem = parse_case("fwd/bf16/b1.hq1.hkv1.sq1.skv2.dqk1.dv1/full/scale0/gauss:5/bhsd/single").problem;
  ForwardAnswer want{};
  want.out.value = {-1};
  RowScalars row;
  row.visible_count = 2, row.p_max = 0.5, row.sum_p_squared = 0.5;
  want.statistics = {{row}, {2}, {4}, {2.5}, {-0.5}, {4}, {3}};
  const double rms = 1 / (8 * std::log(2.0)) * 0x1p-16;
  const double rest = 0x1p-14 / 12 + 0x1p-50 * 5;
  const Arithmetic bf16 = resolve({}, Dtype::kBf16);
  EXPECT_EQ(single(sigma_squared(problem, bf16, want, 0, 0)), single(rms * 2.5 + rest));
  Arithmetic sums_cast, exact;
  sums_cast.l_sums_cast_p = true;
  exact.p_dtype = Dtype::kF32;
  EXPECT_EQ(single(sigma_squared(problem, resolve(sums_cast, Dtype::kBf16), want, 0, 0)), single(rms * 2 + rest));
  EXPECT_EQ(single(sigma_squared(problem, resolve(exact, Dtype::kBf16), want, 0, 0)), single(rest));
}

TEST(Rows, AreDrawnApartWhereTheySeeTwoKeysAndOthersWeights) {
  const Reference causal =
      prepare(parse_case("fwd/bf16/b2.hq2.hkv1.sq5.skv5.dqk8.dv2/causal_top_left/scale0.35/gauss:5/bhsd/single"), 1);
  const Bounds bounds = bound_forward(causal.c, resolve({}, Dtype::kBf16), causal.want);
  EXPECT_EQ(rows_drawn_apart(causal, bounds).size(), 2u * 2 * 4);
  EXPECT_EQ(rows_drawn_apart(causal, bounds)[0], 1u);
  EXPECT_EQ(place_of(causal, 13), (std::array<std::int64_t, 3>{1, 0, 3}));
  Bounds nothing = bounds;
  nothing.out[3] = kInfinity;  // row 1, column 1
  EXPECT_EQ(rows_drawn_apart(causal, nothing)[0], 2u);
}

}  // namespace
}  // namespace ringproof

#include "reference/judge/gamma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Gamma, OfRoundingToNearestIsHighamsConstant) {
  EXPECT_EQ(gamma_nearest(0, 0x1p-24), 0);
  EXPECT_EQ(gamma_nearest(1, 0.25), 1 / 3.0);
  EXPECT_EQ(gamma_nearest(64, 0x1p-8), 1 / 3.0);
  EXPECT_EQ(gamma_nearest(4, 0.25), kInfinity);
  EXPECT_EQ(gamma_nearest(1e9, 0x1p-24), kInfinity);
}

// (1 + u)^m - 1 is what m roundings can make, and gamma covers it.
TEST(Gamma, CoversTheCompoundOfItsRoundings) {
  for (const double u : {0x1p-8, 0x1p-11, 0x1p-24}) {
    for (double m = 1; m * u < 1; m = std::ceil(m * 1.5)) EXPECT_GE(gamma_nearest(m, u), std::expm1(m * std::log1p(u)));
  }
}

TEST(Gamma, OfTruncatingAccumulatorsCountsBlocks) {
  Arithmetic hopper;
  hopper.mma_block = 32, hopper.accumulator_fraction_bits = 13;
  const Arithmetic a = resolve(hopper, Dtype::kF8E4m3);
  const double block = 33 * 0x1p-13 + 0x1p-23;
  EXPECT_EQ(gamma_accumulator(a, 1), block / (1 - block));
  EXPECT_EQ(gamma_accumulator(a, 32), block / (1 - block));
  EXPECT_EQ(gamma_accumulator(a, 33), 2 * block / (1 - 2 * block));
  EXPECT_GE(gamma_accumulator(a, 320), std::expm1(10 * std::log1p(block)));
  EXPECT_EQ(gamma_accumulator(a, 32 * 1000), kInfinity);
  EXPECT_EQ(gamma_accumulator(resolve({}, Dtype::kBf16), 65), gamma_nearest(65, 0x1p-24));
}

}  // namespace
}  // namespace ringproof

// The three arithmetics of an mma against statements of them that share no code: integers of 128 bits for the exact
// sum, doubles cut on a grid for the Hopper model, the plain loop for the sequential one.

#include "gpu/simt/mma.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <tuple>
#include <type_traits>
#include <utility>

#include "gpu/simt/float16.h"

namespace ringproof::simt::host {
namespace {

__extension__ using Wide = __int128;

template <class T>
void multiply(MmaTile& tile, MmaNumerics numerics) {
  if constexpr (std::is_same_v<T, bf16>) {
    multiply_accumulate_bf16(tile, numerics);
  } else {
    multiply_accumulate_fp16(tile, numerics);
  }
}

/// Normal values times 2^-spread .. 2^spread, some zeros.
template <class T>
MmaTile draw(std::mt19937& random, int spread) {
  std::normal_distribution<float> normal;
  const auto value = [&] {
    if (random() % 50 == 0) return 0.0f;
    const float x = normal(random);
    return std::ldexp(x, static_cast<int>(random() % static_cast<unsigned>(2 * spread + 1)) - spread);
  };
  MmaTile tile;
  for (auto& row : tile.a) std::generate(std::begin(row), std::end(row), [&] { return from_float<T>(value()).bits; });
  for (auto& row : tile.b) std::generate(std::begin(row), std::end(row), [&] { return from_float<T>(value()).bits; });
  for (auto& row : tile.c) std::generate(std::begin(row), std::end(row), value);
  return tile;
}

template <class T>
double a_of(const MmaTile& tile, int m, int k) {
  return static_cast<double>(to_float(T{tile.a[m][k]}));
}
template <class T>
double b_of(const MmaTile& tile, int k, int n) {
  return static_cast<double>(to_float(T{tile.b[k][n]}));
}

template <class T, class Want>
void expect_same_bits(T, MmaNumerics numerics, int spread_max, const Want& want) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const MmaTile in = draw<T>(random, round * spread_max / 60);
    MmaTile out = in;
    multiply<T>(out, numerics);
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 8; ++n) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out.c[m][n]), std::bit_cast<std::uint32_t>(want(in, m, n)))
            << std::hexfloat << out.c[m][n] << ", spread " << round * spread_max / 60;
      }
    }
  }
}

template <class T>
float sequential(const MmaTile& in, int m, int n) {
  float sum = in.c[m][n];
  for (int k = 0; k < 16; ++k) sum += static_cast<float>(a_of<T>(in, m, k)) * static_cast<float>(b_of<T>(in, k, n));
  return sum;
}

TEST(Mma, SequentialAddsTheProductsInTheOrderOfK) {
  expect_same_bits(bf16{}, MmaNumerics::kSequentialFp32, 8, sequential<bf16>);
  expect_same_bits(fp16{}, MmaNumerics::kSequentialFp32, 4, sequential<fp16>);
}

/// value 2^70, which must be a whole number.
Wide on_grid(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  const Wide whole = static_cast<std::int64_t>(std::ldexp(fraction, 53));
  const int shift = exponent - 53 + 70;
  return shift >= 0 ? whole * (Wide{1} << shift) : whole / (Wide{1} << -shift);
}

/// Of two neighbouring floats around the exact sum the nearer, at a tie the even one.
template <class T>
float exact(const MmaTile& in, int m, int n) {
  Wide sum = on_grid(static_cast<double>(in.c[m][n]));
  double estimate = static_cast<double>(in.c[m][n]);
  for (int k = 0; k < 16; ++k) {
    sum += on_grid(a_of<T>(in, m, k) * b_of<T>(in, k, n));
    estimate += a_of<T>(in, m, k) * b_of<T>(in, k, n);
  }
  const float middle = static_cast<float>(estimate);
  float best = middle;
  for (const float x : {std::nextafter(middle, -INFINITY), std::nextafter(middle, INFINITY)}) {
    const auto distance = [&](float y) {
      const Wide d = on_grid(static_cast<double>(y)) - sum;
      return d < 0 ? -d : d;
    };
    const bool even = (std::bit_cast<std::uint32_t>(x) & 1u) == 0;
    if (distance(x) < distance(best) || (distance(x) == distance(best) && even)) best = x;
  }
  return best;
}

TEST(Mma, ExactThenRoundGivesTheNearestFloat) {
  // The grid holds every product and accumulator of these exponents exactly.
  expect_same_bits(bf16{}, MmaNumerics::kExactThenRound, 12, exact<bf16>);
  expect_same_bits(fp16{}, MmaNumerics::kExactThenRound, 8, exact<fp16>);
}

TEST(Mma, ExactThenRoundLosesNothingBetweenHugeTermsThatCancel) {
  MmaTile tile = {};
  const auto put = [&](int k, float a, float b) {
    tile.a[0][k] = from_float<bf16>(a).bits;
    tile.b[k][0] = from_float<bf16>(b).bits;
  };
  put(0, 0x1p120f, 0x1p120f);
  put(1, 0x1p-60f, 0x1p-70f);
  put(2, -0x1p120f, 0x1p120f);
  put(3, 1.0f, 0x1p-24f);  // with c = 1 half a place: a tie but for the term 1
  tile.c[0][0] = 1.0f;
  multiply_accumulate_bf16(tile, MmaNumerics::kExactThenRound);
  EXPECT_EQ(tile.c[0][0], 1.0f + 0x1p-23f);
}

/// As the model is stated: scaled to the largest exponent, each term cut by trunc, all in doubles that hold it exactly.
template <class T>
float hopper(const MmaTile& in, int m, int n) {
  const int least = std::is_same_v<T, bf16> ? -126 : -14;
  double terms[17];
  int exponents[17], largest = -1000;
  const auto split = [](double x, int least_normal) {  // x = first * 2^second, 1 <= |first| < 2 unless subnormal
    int e = 0;
    if (x != 0) std::frexp(x, &e);
    e = x == 0 ? least_normal : std::max(e - 1, least_normal);
    return std::pair(std::ldexp(x, -e), e);
  };
  for (int k = 0; k < 16; ++k) {
    const auto [a, a_exponent] = split(a_of<T>(in, m, k), least);
    const auto [b, b_exponent] = split(b_of<T>(in, k, n), least);
    terms[k] = a * b;
    exponents[k] = a_exponent + b_exponent;
  }
  std::tie(terms[16], exponents[16]) = split(static_cast<double>(in.c[m][n]), -126);
  for (const int e : exponents) largest = std::max(largest, e);
  double sum = 0;
  for (int i = 0; i < 17; ++i) sum += std::trunc(std::ldexp(terms[i], 25 + exponents[i] - largest));
  const double value = std::ldexp(sum, largest - 25);
  const float rounded = static_cast<float>(value);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(value) ? std::nextafter(rounded, 0.0f) : rounded;
}

TEST(Mma, HopperCutsEveryTermOnTheGridOfTheLargest) {
  expect_same_bits(bf16{}, MmaNumerics::kHopper, 40, hopper<bf16>);
  expect_same_bits(fp16{}, MmaNumerics::kHopper, 12, hopper<fp16>);
}

/// One row and column: c plus `count` equal products.
float hopper_of(float c, float product_root, int count, float sign) {
  MmaTile tile = {};
  for (int k = 0; k < count; ++k) {
    tile.a[0][k] = from_float<bf16>(product_root).bits;
    tile.b[k][0] = from_float<bf16>(sign * product_root).bits;
  }
  tile.c[0][0] = c;
  multiply_accumulate_bf16(tile, MmaNumerics::kHopper);
  return tile.c[0][0];
}

TEST(Mma, HopperKeeps25FractionBitsAndRoundsTowardZero) {
  EXPECT_EQ(hopper_of(1.0f, 0x1p-13f, 16, 1.0f), 1.0f);             // 16 terms 2^-26: all cut
  EXPECT_EQ(hopper_of(2.0f, 0x1p-12f, 3, 1.0f), 2.0f);              // 3 terms 2^-24: kept, but less than a place
  EXPECT_EQ(hopper_of(2.0f, 0x1p-12f, 16, 1.0f), 2.0f + 0x1p-20f);  // 16 of them are 4 places
  EXPECT_EQ(hopper_of(1.0f, 0x1p-12f, 1, -1.0f), 1.0f - 0x1p-24f);  // 1 - 2^-24
  EXPECT_EQ(hopper_of(2.0f, 0x1p-12f, 1, -1.0f), 2.0f - 0x1p-23f);  // toward zero
  EXPECT_EQ(hopper_of(0x1.fffffep127f, 0x1p63f, 16, 1.0f), INFINITY);
}

TEST(Mma, NanAndInfinityGetThroughInEveryArithmetic) {
  for (const MmaNumerics numerics :
       {MmaNumerics::kSequentialFp32, MmaNumerics::kExactThenRound, MmaNumerics::kHopper}) {
    MmaTile tile = {};
    const float big = 0x1p127f;
    tile.a[0][3] = from_float<bf16>(INFINITY).bits;
    tile.b[3][0] = from_float<bf16>(2.0f).bits;
    tile.a[0][4] = from_float<bf16>(-1.0f).bits;
    tile.b[4][0] = from_float<bf16>(big).bits;
    tile.b[5][1] = 0x7fff;  // a NaN
    tile.b[3][2] = from_float<bf16>(-1.0f).bits;
    tile.c[1][0] = -INFINITY;
    multiply_accumulate_bf16(tile, numerics);
    EXPECT_EQ(tile.c[0][0], INFINITY);
    EXPECT_TRUE(std::isnan(tile.c[0][1]));  // 0 times NaN
    EXPECT_EQ(tile.c[0][2], -INFINITY);
    EXPECT_TRUE(std::isnan(tile.c[0][3]));  // infinity times 0
    EXPECT_EQ(tile.c[1][0], -INFINITY);
    EXPECT_EQ(tile.c[1][2], 0.0f);
  }
}

}  // namespace
}  // namespace ringproof::simt::host

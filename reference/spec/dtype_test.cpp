#include "reference/spec/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Dtype kNarrow[]{Dtype::kF16, Dtype::kBf16, Dtype::kF8E4m3, Dtype::kF8E5m2};
constexpr Dtype kAll[]{Dtype::kF64,    Dtype::kF32,    Dtype::kF16, Dtype::kBf16,
                       Dtype::kF8E4m3, Dtype::kF8E5m2, Dtype::kTf32};

// Every finite number of a narrow format that is not negative, ascending, read from its bits.
std::vector<double> magnitudes_of(Dtype dtype) {
  std::vector<double> values;
  const std::uint32_t patterns = 1u << (8 * size_bytes(dtype) - 1);
  for (std::uint32_t bits = 0; bits < patterns; ++bits) {
    const double value = load(&bits, dtype);
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

TEST(FormatFacts, AreThoseOfTheStandards) {
  struct Row {
    Dtype dtype;
    int precision;
    double least_normal, largest, subnormal;
  };
  const Row rows[]{{Dtype::kF64, 53, std::numeric_limits<double>::min(), std::numeric_limits<double>::max(),
                    std::numeric_limits<double>::denorm_min()},
                   {Dtype::kF32, 24, std::numeric_limits<float>::min(), std::numeric_limits<float>::max(),
                    std::numeric_limits<float>::denorm_min()},
                   {Dtype::kF16, 11, 0x1p-14, 65504, 0x1p-24},
                   {Dtype::kBf16, 8, 0x1p-126, 0x1.fep127, 0x1p-133},
                   {Dtype::kF8E4m3, 4, 0x1p-6, 448, 0x1p-9},
                   {Dtype::kF8E5m2, 3, 0x1p-14, 57344, 0x1p-16},
                   {Dtype::kTf32, 11, 0x1p-126, 0x1.ffcp127, 0x1p-136}};
  for (const Row& row : rows) {
    const FormatFacts facts = format_facts(row.dtype);
    EXPECT_EQ(facts.precision, row.precision) << to_string(row.dtype);
    EXPECT_EQ(std::ldexp(1, facts.exponent_min), row.least_normal) << to_string(row.dtype);
    EXPECT_EQ(facts.finite_max, row.largest) << to_string(row.dtype);
    EXPECT_EQ(facts.subnormal_min, row.subnormal) << to_string(row.dtype);
    EXPECT_EQ(facts.unit_roundoff, std::ldexp(1, -row.precision)) << to_string(row.dtype);
  }
}

TEST(StorageDtype, NamesReadBackAndOthersDoNot) {
  for (const Dtype dtype : kAll) {
    if (dtype == Dtype::kTf32) continue;
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
  }
  for (const char* text : {"default", "tf32", "fp", "FP32", "", "fp8"}) EXPECT_FALSE(parse_dtype(text)) << text;
}

TEST(StorageDtype, EveryPatternOfEveryNarrowFormatSurvivesLoadAndStore) {
  for (const Dtype dtype : kNarrow) {
    const std::size_t size = size_bytes(dtype);
    for (std::uint32_t bits = 0; bits < 1u << (8 * size); ++bits) {
      const double value = load(&bits, dtype);
      std::uint32_t back = 0;
      store(&back, dtype, value);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(load(&back, dtype))) << to_string(dtype) << " " << bits;
      } else {
        ASSERT_EQ(back, bits) << to_string(dtype);
        ASSERT_EQ(round_to(dtype, value), value) << to_string(dtype) << " " << bits;
      }
    }
  }
}

TEST(StorageDtype, NarrowFormatsHoldTheNumbersTheirBitsSay) {
  const auto read = [](Dtype dtype, std::uint32_t bits) { return load(&bits, dtype); };
  EXPECT_EQ(read(Dtype::kF16, 0x3c00), 1);
  EXPECT_EQ(read(Dtype::kF16, 0xc001), -2 - 0x1p-9);
  EXPECT_EQ(read(Dtype::kF16, 0x0001), 0x1p-24);
  EXPECT_EQ(read(Dtype::kF16, 0xfc00), -kInfinity);
  EXPECT_EQ(read(Dtype::kBf16, 0x3f80), 1);
  EXPECT_EQ(read(Dtype::kBf16, 0xbf81), -1 - 0x1p-7);
  EXPECT_EQ(read(Dtype::kBf16, 0x0001), 0x1p-133);
  EXPECT_EQ(read(Dtype::kF8E4m3, 0x7e), 448);
  EXPECT_TRUE(std::isnan(read(Dtype::kF8E4m3, 0x7f)));
  EXPECT_EQ(read(Dtype::kF8E5m2, 0x7b), 57344);
  EXPECT_EQ(read(Dtype::kF8E5m2, 0x7c), kInfinity);
  EXPECT_TRUE(std::signbit(read(Dtype::kF16, 0x8000)));
}

// Between neighbours x < y of a format: below the middle x, above it y, at the middle the one with the even bits.
TEST(Rounding, IsToNearestWithTiesToEvenBetweenAllNeighbours) {
  for (const Dtype dtype : kNarrow) {
    const std::vector<double> values = magnitudes_of(dtype);
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      const double below = values[i], above = values[i + 1], middle = below + (above - below) / 2;
      const double even = i % 2 == 0 ? below : above;
      for (const double sign : {1.0, -1.0}) {
        ASSERT_EQ(round_to(dtype, sign * middle), sign * even) << to_string(dtype) << " " << middle;
        ASSERT_EQ(round_to(dtype, sign * std::nextafter(middle, 0.0)), sign * below) << to_string(dtype);
        ASSERT_EQ(round_to(dtype, sign * std::nextafter(middle, above)), sign * above) << to_string(dtype);
      }
    }
  }
}

TEST(Rounding, ToFp32AgreesWithTheProcessor) {
  std::uint64_t state = 1;
  for (int i = 0; i < 200'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto value = std::bit_cast<double>(state);
    if (std::isnan(value)) continue;
    const double narrowed =
        std::ldexp(std::frexp(value, std::array<int, 1>{}.data()), static_cast<int>(state % 290) - 152);
    for (const double x : {value, narrowed})
      ASSERT_EQ(round_to(Dtype::kF32, x), static_cast<double>(static_cast<float>(x)));
  }
}

TEST(Rounding, OverflowBeginsAtHalfAnUlpBeyondTheLargestNumber) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBf16, Dtype::kF8E5m2, Dtype::kTf32}) {
    const double largest = format_facts(dtype).finite_max, limit = largest + half_ulp(dtype, largest);
    EXPECT_EQ(round_to(dtype, std::nextafter(limit, 0.0)), largest) << to_string(dtype);
    EXPECT_EQ(round_to(dtype, limit), kInfinity) << to_string(dtype);
    EXPECT_EQ(round_to(dtype, -limit), -kInfinity) << to_string(dtype);
    EXPECT_EQ(round_to(dtype, kInfinity), kInfinity) << to_string(dtype);
  }
  EXPECT_EQ(round_to(Dtype::kF8E4m3, 464), 448);  // a tie to the even 448
  EXPECT_TRUE(std::isnan(round_to(Dtype::kF8E4m3, 465)));
  EXPECT_TRUE(std::isnan(round_to(Dtype::kF8E4m3, kInfinity)));
}

TEST(Rounding, KeepsZerosNansAndDoubles) {
  for (const Dtype dtype : kAll) {
    EXPECT_TRUE(std::signbit(round_to(dtype, -0.0))) << to_string(dtype);
    EXPECT_TRUE(std::isnan(round_to(dtype, std::nan("")))) << to_string(dtype);
    EXPECT_TRUE(std::signbit(round_to(dtype, -1e-320)) == true) << to_string(dtype);
  }
  EXPECT_EQ(round_to(Dtype::kF64, 0.1), 0.1);
  EXPECT_EQ(round_to(Dtype::kTf32, 1 + 0x1p-11), 1);
  EXPECT_EQ(round_to(Dtype::kTf32, 1 + 0x1.8p-10), 1 + 0x1p-9);
  double stored = 0;
  store(&stored, Dtype::kF64, std::nan(""));
  EXPECT_TRUE(std::isnan(stored));
}

TEST(HalfUlp, IsHalfTheDistanceToTheNextMagnitude) {
  for (const Dtype dtype : kNarrow) {
    const std::vector<double> values = magnitudes_of(dtype);
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      const double half = (values[i + 1] - values[i]) / 2;
      ASSERT_EQ(half_ulp(dtype, values[i]), half) << to_string(dtype) << " " << values[i];
      ASSERT_EQ(half_ulp(dtype, -(values[i] + half)), half) << to_string(dtype) << " " << values[i];
    }
  }
}

TEST(HalfUlp, OfZeroIsHalfTheLeastSubnormal) {
  EXPECT_EQ(half_ulp(Dtype::kF32, 0), 0x1p-150);
  EXPECT_EQ(half_ulp(Dtype::kF16, 0), 0x1p-25);
  EXPECT_EQ(half_ulp(Dtype::kBf16, -0.0), 0x1p-134);
  EXPECT_EQ(half_ulp(Dtype::kF32, 1), 0x1p-24);
  EXPECT_EQ(half_ulp(Dtype::kF32, std::nextafter(1.0, 0.0)), 0x1p-25);
  EXPECT_EQ(half_ulp(Dtype::kF64, 1), 0x1p-53);
  EXPECT_EQ(half_ulp(Dtype::kF16, kInfinity), kInfinity);
}

}  // namespace
}  // namespace ringproof

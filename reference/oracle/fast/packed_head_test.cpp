#include "reference/oracle/fast/packed_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace ringproof {
namespace {

// Powers of two times small integers: exact in every form.
double element(std::int64_t s, std::int64_t c) { return static_cast<double>((s * 3 + c * 5) % 7 - 3) * 0x1p9; }

Tensor filled(Dtype dtype, const Shape& shape) {
  const Tensor tensor(dtype, shape);
  for (std::int64_t s = 0; s < shape[2]; ++s) {
    for (std::int64_t c = 0; c < shape[3]; ++c) tensor.view().store(0, 0, s, c, element(s, c));
  }
  return tensor;
}

TEST(PackedHead, HoldsEveryKeyAndValueAndZerosAroundThem) {
  constexpr std::int64_t kKeys = kBlockKeys + 13, kHeadDim = 5, kColumns = 11, kPadded = 16;
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16, Dtype::kF16}) {
    const Tensor k = filled(dtype, {1, 1, kKeys, kHeadDim}), v = filled(dtype, {1, 1, kKeys, kColumns});
    const HeadFacts facts = survey_head(k.view(), v.view(), 0, 0, 2);
    EXPECT_TRUE(facts.is_finite);
    EXPECT_GE(facts.k_unit, 3 * 0x1p9);
    for (const double largest : facts.k_channel_max) EXPECT_EQ(largest, 3 * 0x1p9);
    const Aligned<double> memory = aligned_zeros<double>(packed_doubles(facts));
    std::fill_n(memory.get(), packed_doubles(facts), 77.0);  // of another block
    for (const std::int64_t block : {0, 1}) {
      const PackedBlock packed = pack_block(k.view(), v.view(), 0, 0, facts, block, true, memory.get());
      for (std::int64_t j = 0; j < kBlockKeys; ++j) {
        const std::int64_t key = block * kBlockKeys + j;
        double sum = 0;
        for (std::int64_t c = 0; c < kHeadDim; ++c) {
          const double want = key < kKeys ? element(key, c) : 0;
          const std::int64_t at = (j / kGroup * kHeadDim + c) * kGroup + j % kGroup;
          EXPECT_EQ(packed.k[at], want);
          EXPECT_EQ(packed.k_abs[at] * facts.k_unit, std::fabs(want));
          sum += std::fabs(want);
        }
        EXPECT_EQ(packed.k_abs_sum[j], sum);
        for (std::int64_t c = 0; c < kPadded; ++c) {
          const double want = key < kKeys && c < kColumns ? element(key, c) : 0;
          const std::int64_t at = (c / kGroup * kBlockKeys + j) * kGroup + c % kGroup;
          if (block == 1) {
            EXPECT_EQ(packed.v[at], want);
          }
          if (c >= kColumns) continue;
          const double unit = facts.v_unit[static_cast<std::size_t>(c)];
          const double centre = facts.v_centre[static_cast<std::size_t>(c)];
          const double distance = key < kKeys ? (want - centre) / unit : 0;
          EXPECT_EQ(packed.v_single[at] * unit, want);
          EXPECT_EQ(packed.v_abs[at] * unit, std::fabs(want));
          EXPECT_EQ(packed.v_squared[at] * unit * unit, want * want);
          EXPECT_EQ(packed.v_centred_squared[at], static_cast<float>(distance * distance));
          EXPECT_LE(packed.v_centred_squared[at], 1);
        }
      }
      for (std::int64_t part = 0; part < kBlockKeys / PackedBlock::kSumKeys; ++part) {
        for (std::int64_t c = 0; c < kColumns; ++c) {
          double sum = 0, largest = 0;
          for (std::int64_t j = 0; j < PackedBlock::kSumKeys; ++j) {
            const std::int64_t key = block * kBlockKeys + part * PackedBlock::kSumKeys + j;
            const double magnitude = key < kKeys ? std::fabs(element(key, c)) : 0;
            sum += magnitude;
            largest = std::max(largest, magnitude);
          }
          EXPECT_EQ(packed.v_sums[part * kPadded + c], sum);
          EXPECT_EQ(packed.v_maxima[part * kPadded + c], largest);
        }
      }
    }
  }
}

TEST(PackedHead, DecodesEveryNumberOfSixteenBits) {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF16}) {
    const Tensor tensor(dtype, {1, 1, 256, 256});
    auto* const bits = static_cast<std::uint16_t*>(tensor.view().data);
    for (std::int64_t i = 0; i < 65536; ++i) bits[i] = static_cast<std::uint16_t>(i);
    std::vector<double> row(256);
    for (std::int64_t s = 0; s < 256; ++s) {
      decode_row(tensor.view(), 0, 0, s, row.data());
      for (std::int64_t c = 0; c < 256; ++c) {
        const double want = tensor.view().load(0, 0, s, c), got = row[static_cast<std::size_t>(c)];
        EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want))
            << want << " " << got;
      }
    }
  }
}

TEST(PackedHead, RaisesMagnitudesWhoseProductsWouldVanish) {
  EXPECT_EQ(scaled_magnitude(0, 1), 0);
  EXPECT_EQ(scaled_magnitude(0x1p-100, 1), 0x1p-60f);
  EXPECT_EQ(scaled_magnitude(0x1p-100, 0x1p99), 0.5f);
}

TEST(PackedHead, SaysWhenAnElementIsNotFinite) {
  for (const double damage : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const Tensor sound = filled(Dtype::kF32, {1, 1, 6, 4}), damaged = filled(Dtype::kF32, {1, 1, 6, 4});
    damaged.view().store(0, 0, 4, 2, damage);
    EXPECT_TRUE(survey_head(sound.view(), sound.view(), 0, 0, 1).is_finite);
    EXPECT_FALSE(survey_head(damaged.view(), sound.view(), 0, 0, 1).is_finite);
    EXPECT_FALSE(survey_head(sound.view(), damaged.view(), 0, 0, 1).is_finite);
  }
}

}  // namespace
}  // namespace ringproof

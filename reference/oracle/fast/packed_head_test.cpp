#include "reference/oracle/fast/packed_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "reference/oracle/fast/targets_test.h"

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

// Number `index` of words that are one float or two bf16.
double number_of(const Word* words, std::int64_t per_word, std::int64_t index, std::int64_t step) {
  const Word word = words[index / per_word * step];
  if (per_word == 1) return std::bit_cast<float>(word);
  return std::bit_cast<float>(index % 2 == 0 ? word << 16 : word & 0xffff0000u);
}

double rounded(double positive, std::int64_t per_word) {
  const auto single = static_cast<float>(positive);
  return per_word == 1 ? single : std::bit_cast<float>((std::bit_cast<Word>(single) + 0x8000u) & 0xffff0000u);
}

void expect_block(const HeadFacts& facts, const PackedBlock& packed, std::int64_t first_key) {
  const std::int64_t d = facts.head_dim_qk, dv = facts.head_dim_v, per_word = facts.per_word;
  const std::int64_t padded = groups_of(dv) * kGroup;
  for (std::int64_t j = 0; j < kBlockKeys; ++j) {
    const std::int64_t key = first_key + j;
    if (key >= facts.keys) continue;
    double sum = 0;
    for (std::int64_t c = 0; c < d; ++c) {
      const double want = element(key, c) * facts.descale_k;
      EXPECT_EQ(packed.k[j * packed.k_stride + c], want);
      EXPECT_EQ(number_of(packed.k_abs + j * packed.k_abs_stride, per_word, c, 1) * facts.k_unit, std::fabs(want));
      sum += std::fabs(want);
    }
    EXPECT_EQ(packed.k_abs_sum[j], sum);
    for (std::int64_t c = 0; c < padded; ++c) {
      const double want = c < dv ? element(key, c) * facts.descale_v : 0;
      EXPECT_EQ(packed.v[(c / kGroup * kBlockKeys + j) * kGroup + c % kGroup], want);
      if (c >= dv) continue;
      const double unit = facts.v_unit[static_cast<std::size_t>(c)];
      const double centre = facts.v_centre[static_cast<std::size_t>(c)];
      const double distance = (want - centre) / unit;
      const auto number = [&](const Word* words) {
        return number_of(words + c / kGroup * kBlockKeys / per_word * kGroup + c % kGroup, per_word, j, kGroup);
      };
      EXPECT_EQ(number(packed.v_single) * unit, want);
      EXPECT_EQ(number(packed.v_abs) * unit, std::fabs(want));
      EXPECT_EQ(number(packed.v_squared) * unit * unit, want * want);
      const double centred = number(packed.v_centred_squared);
      EXPECT_EQ(centred, rounded(distance * distance, per_word));
      EXPECT_LE(centred, 1);
    }
  }
}

void expect_magnitudes(const HeadFacts& facts, const PackedBlock& packed, std::int64_t first_key) {
  const std::int64_t padded = groups_of(facts.head_dim_v) * kGroup;
  for (std::int64_t part = 0; part < kBlockKeys / PackedBlock::kSumKeys; ++part) {
    for (std::int64_t c = 0; c < facts.head_dim_v; ++c) {
      double sum = 0, largest = 0;
      for (std::int64_t j = 0; j < PackedBlock::kSumKeys; ++j) {
        const std::int64_t key = first_key + part * PackedBlock::kSumKeys + j;
        const double magnitude = key < facts.keys ? std::fabs(element(key, c) * facts.descale_v) : 0;
        sum += magnitude;
        largest = std::max(largest, magnitude);
      }
      EXPECT_EQ(packed.v_sums[part * padded + c], sum);
      EXPECT_EQ(packed.v_maxima[part * padded + c], largest);
    }
  }
}

TEST(PackedHead, HoldsEveryKeyAndValueTimesItsDescaleFactor) {
  constexpr std::int64_t kKeys = kBlockKeys + 13, kHeadDim = 5, kColumns = 11;
  on_every_target([](const std::string& target) {
    SCOPED_TRACE(target);
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16, Dtype::kF16}) {
      const Tensor k = filled(dtype, {1, 1, kKeys, kHeadDim}), v = filled(dtype, {1, 1, kKeys, kColumns});
      const HeadFacts facts = survey_head(k.view(), v.view(), 0, 0, 0.5, -4, 2);
      EXPECT_TRUE(facts.is_finite);
      EXPECT_GE(facts.k_unit, 3 * 0x1p8);
      for (const double largest : facts.k_channel_max) EXPECT_EQ(largest, 3 * 0x1p8);
      const std::int64_t room = packed_doubles(facts, true);
      const Aligned<double> memory = aligned_zeros<double>(room);
      std::fill_n(memory.get(), room, 77.0);  // of another block
      for (const std::int64_t block : {0, 1}) {
        const PackedBlock packed = pack_block(k.view(), v.view(), 0, 0, facts, block, true, memory.get());
        expect_block(facts, packed, block * kBlockKeys);
        expect_magnitudes(facts, packed, block * kBlockKeys);
      }
    }
  });
}

TEST(PackedHead, DecodesEveryNumberOfSixteenBits) {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF16}) {
    const Tensor tensor(dtype, {1, 1, 256, 256});
    auto* const bits = static_cast<std::uint16_t*>(tensor.view().data);
    for (std::int64_t i = 0; i < 65536; ++i) bits[i] = static_cast<std::uint16_t>(i);
    std::vector<double> row(256);
    for (std::int64_t s = 0; s < 256; ++s) {
      decode_row(tensor.view(), 0, 0, s, 1, row.data());
      for (std::int64_t c = 0; c < 256; ++c) {
        const double want = tensor.view().load(0, 0, s, c), got = row[static_cast<std::size_t>(c)];
        EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want))
            << want << " " << got;
      }
    }
  }
}

TEST(PackedHead, RaisesMagnitudesWhoseProductsWouldVanish) {
  on_every_target([](const std::string& target) {
    const PackKernels kernels = pack_kernels();
    const Aligned<double> row = aligned_zeros<double>(16);
    const Aligned<Word> words = aligned_zeros<Word>(16);
    row[1] = -0x1p-100;
    row[2] = 0x1p-10;
    EXPECT_EQ(kernels.magnitude_words(row.get(), 3, 0.5, words.get()), 0x1p-100 + 0x1p-10) << target;
    const double want[]{0, 0x1p-60, 0x1p-11, 0};
    for (std::int64_t c = 0; c < 4; ++c) EXPECT_EQ(number_of(words.get(), kernels.per_word, c, 1), want[c]) << target;
  });
}

TEST(PackedHead, SaysWhenAnElementIsNotFinite) {
  for (const double damage : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const Tensor sound = filled(Dtype::kF32, {1, 1, 6, 4}), damaged = filled(Dtype::kF32, {1, 1, 6, 4});
    damaged.view().store(0, 0, 4, 2, damage);
    EXPECT_TRUE(survey_head(sound.view(), sound.view(), 0, 0, 1, 1, 1).is_finite);
    EXPECT_FALSE(survey_head(damaged.view(), sound.view(), 0, 0, 1, 1, 1).is_finite);
    EXPECT_FALSE(survey_head(sound.view(), damaged.view(), 0, 0, 1, 1, 1).is_finite);
  }
}

}  // namespace
}  // namespace ringproof

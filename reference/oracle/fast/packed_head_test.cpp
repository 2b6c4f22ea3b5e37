#include "reference/oracle/fast/packed_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

// Powers of two times small integers: exact in every form.
double element(std::int64_t s, std::int64_t c) { return static_cast<double>((s * 3 + c * 5) % 7 - 3) * 0x1p40; }

Tensor filled(const Shape& shape) {
  const Tensor tensor(Dtype::kF32, shape);
  for (std::int64_t s = 0; s < shape[2]; ++s) {
    for (std::int64_t c = 0; c < shape[3]; ++c) tensor.view().store(0, 0, s, c, element(s, c));
  }
  return tensor;
}

TEST(PackedHead, HoldsEveryKeyAndValueAndZerosAroundThem) {
  constexpr std::int64_t kKeys = 13, kHeadDim = 5, kColumns = 11;
  const Tensor k = filled({1, 1, kKeys, kHeadDim}), v = filled({1, 1, kKeys, kColumns});
  const PackedHead head = pack_head(k.view(), v.view(), 0, 0, 2);
  EXPECT_TRUE(head.is_finite);
  EXPECT_GE(head.k_unit, head.k_max);
  EXPECT_EQ(head.k_max, 3 * 0x1p40);
  for (std::int64_t j = 0; j < head.padded_keys(); ++j) {
    double sum = 0;
    for (std::int64_t c = 0; c < kHeadDim; ++c) {
      const double want = j < kKeys ? element(j, c) : 0;
      const std::int64_t at = (j / kGroup * kHeadDim + c) * kGroup + j % kGroup;
      EXPECT_EQ(head.k[at], want);
      EXPECT_EQ(head.k_abs[at] * head.k_unit, std::fabs(want));
      EXPECT_LE(head.k_abs[at], 1);
      sum += std::fabs(want);
    }
    if (j < kKeys) {
      EXPECT_EQ(head.k_abs_sum[j], sum);
    }
    for (std::int64_t c = 0; c < groups_of(kColumns) * kGroup; ++c) {
      const double want = j < kKeys && c < kColumns ? element(j, c) : 0;
      const std::int64_t at = (c / kGroup * head.padded_keys() + j) * kGroup + c % kGroup;
      EXPECT_EQ(head.v[at], want);
      if (c >= kColumns) continue;
      const double unit = head.v_unit[c], distance = j < kKeys ? (want - head.v_centre[c]) / unit : 0;
      EXPECT_EQ(head.v_single[at] * unit, want);
      EXPECT_EQ(head.v_abs[at] * unit, std::fabs(want));
      EXPECT_EQ(head.v_squared[at] * unit * unit, want * want);
      EXPECT_EQ(head.v_centred_squared[at], static_cast<float>(distance * distance));
      EXPECT_LE(head.v_centred_squared[at], 1);
    }
  }
}

TEST(PackedHead, SaysWhenAnElementIsNotFinite) {
  for (const double damage : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const Tensor sound = filled({1, 1, 6, 4}), damaged = filled({1, 1, 6, 4});
    damaged.view().store(0, 0, 4, 2, damage);
    EXPECT_FALSE(pack_head(damaged.view(), sound.view(), 0, 0, 1).is_finite);
    EXPECT_FALSE(pack_head(sound.view(), damaged.view(), 0, 0, 1).is_finite);
    PackedPanel panel{aligned_zeros<double>(4 * 8), aligned_zeros<float>(4 * 8)};
    pack_panel(damaged.view(), 0, 0, 0, 6, 8, panel);
    EXPECT_FALSE(panel.is_finite);
    pack_panel(sound.view(), 0, 0, 0, 6, 8, panel);
    EXPECT_TRUE(panel.is_finite);
  }
}

}  // namespace
}  // namespace ringproof

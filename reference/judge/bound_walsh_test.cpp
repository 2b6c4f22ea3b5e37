#include "reference/judge/bound_walsh.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "reference/judge/simulated_kernel_test.h"

namespace ringproof {
namespace {

constexpr std::int64_t kColumns = 14;

Reference probe(const std::string& dtype, std::int64_t length, const std::string& topology = "single") {
  return prepare(parse_case("fwd/" + dtype + "/b1.hq1.hkv1.sq1.skv" + std::to_string(length) +
                            ".dqk4.dv14/full/scale0.5/" + "walsh_probe:3/bhsd/" + topology),
                 1);
}

// The mean of the values when key `key` counts `times` times.
double mean_with(const Reference& reference, std::int64_t column, std::int64_t key, int times) {
  const std::int64_t n = reference.c.problem.seqlen_kv;
  const TensorView v = reference.inputs.v.view();
  double sum = (times - 1) * v.load(0, 0, key, column);
  for (std::int64_t j = 0; j < n; ++j) sum += v.load(0, 0, j, column);
  return sum / static_cast<double>(n + times - 1);
}

// Columns of O that lie outside when that mean comes back, rounded to storage.
int columns_outside(const Reference& reference, const Arithmetic& arithmetic, std::int64_t key, int times) {
  const Bounds bounds = bound_forward(reference.c, arithmetic, reference.want);
  int outside = 0;
  for (std::int64_t column = 0; column < kColumns; ++column) {
    const auto at = static_cast<std::size_t>(column);
    const double got = round_to(reference.c.problem.dtype, mean_with(reference, column, key, times));
    const double error = std::fabs(got - reference.want.out.value[at]);
    const bool inside = error <= bounds.out[at];
    outside += !inside;
  }
  return outside;
}

TEST(WalshBound, ShowsOneKeyDroppedOrDoubledAtAnyLength) {
  for (const char* dtype : {"fp32", "fp16", "bf16"}) {
    for (const std::int64_t length : {64, 100, 257, 1024, 3000, 4096}) {
      const Reference reference = probe(dtype, length);
      const Arithmetic arithmetic = resolve({}, reference.c.problem.dtype);
      ASSERT_TRUE(walsh_bound_holds(reference.c, arithmetic));
      EXPECT_EQ(columns_outside(reference, arithmetic, 0, 1), 0) << dtype << " " << length;
      for (const std::int64_t key : {std::int64_t{0}, length / 2, length - 1}) {
        EXPECT_GT(columns_outside(reference, arithmetic, key, 0), 0) << dtype << " " << length << " key " << key;
        EXPECT_GT(columns_outside(reference, arithmetic, key, 2), 0) << dtype << " " << length << " key " << key;
      }
    }
  }
}

TEST(WalshBound, LetsOnlyZeroComeBackForZero) {
  const Reference reference = probe("bf16", 4096);
  const Bounds bounds = bound_walsh(reference.c, resolve({}, Dtype::kBf16), reference.want);
  for (std::size_t column = 1; column <= 12; ++column) {
    EXPECT_EQ(reference.want.out.value[column], 0);
    EXPECT_GE(bounds.out[column], 0);
    EXPECT_LT(bounds.out[column], format_facts(Dtype::kBf16).subnormal_min);
  }
}

TEST(WalshBound, HoldsForCorrectKernelsAndRings) {
  for (const char* dtype : {"fp32", "fp16", "bf16"}) {
    for (const char* topology : {"single", "contiguous3", "zigzag4"}) {
      const Reference reference = probe(dtype, 200, topology);
      const Dtype storage = reference.c.problem.dtype;
      for (const bool lerp : {false, true}) {
        for (const Dtype partial : {Dtype::kDefault, Dtype::kBf16, Dtype::kF16}) {
          Arithmetic declared;
          declared.merge_is_lerp = lerp, declared.partial_dtype = partial;
          const SimulatedKernel kernel{resolve(declared, storage), 16};
          ASSERT_TRUE(walsh_bound_holds(reference.c, kernel.arithmetic));
          const SimulatedAnswer got = simulate(kernel, reference);
          const Bounds bounds = bound_walsh(reference.c, kernel.arithmetic, reference.want);
          for (std::size_t at = 0; at < got.out.size(); ++at) {
            EXPECT_LE(std::fabs(got.out[at] - reference.want.out.value[at]), bounds.out[at])
                << to_string(reference.c) << " column " << at;
          }
          EXPECT_LE(std::fabs(got.lse[0] - reference.want.lse.value[0]), bounds.lse[0]) << to_string(reference.c);
        }
      }
    }
  }
}

TEST(WalshBound, IsTheSharperOneAndGrowsWithMerges) {
  const Reference single = probe("bf16", 512), ring = probe("bf16", 512, "zigzag4");
  const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
  Case plain = single.c;
  plain.inputs.kind = RecipeKind::kGauss;  // asks for the general bound of the same numbers
  const Bounds sharp = bound_forward(single.c, arithmetic, single.want);
  const Bounds general = bound_forward(plain, arithmetic, single.want);
  const Bounds merged = bound_forward(ring.c, arithmetic, ring.want);
  for (std::size_t column = 0; column < kColumns; ++column) {
    EXPECT_LT(sharp.out[column], general.out[column]);
    EXPECT_LT(sharp.out[column], merged.out[column]);
  }
  EXPECT_LT(sharp.lse[0], general.lse[0]);
  EXPECT_LT(sharp.lse[0], merged.lse[0]);
}

TEST(WalshBound, GivesWayToTheGeneralOneWhereItsReasonsFail) {
  const Case c = probe("bf16", 64).c;
  const auto holds = [&](Case asked, const Arithmetic& declared) {
    return walsh_bound_holds(asked, resolve(declared, Dtype::kBf16));
  };
  EXPECT_TRUE(holds(c, {}));
  Arithmetic declared;
  declared.exp_error_relative = 6 * 0x1p-24;
  EXPECT_FALSE(holds(c, declared));
  declared = {};
  declared.accumulator_dtype = Dtype::kF16;
  EXPECT_FALSE(holds(c, declared));
  declared = {};
  declared.mma_block = 16, declared.accumulator_fraction_bits = 25;
  EXPECT_FALSE(holds(c, declared));
  declared = {};
  declared.p_is_normalised = true;
  EXPECT_FALSE(holds(c, declared));
  Case gauss = c, sink = c, endless = c;
  gauss.inputs.kind = RecipeKind::kGauss;
  sink.problem.has_sink = true;
  endless.problem.seqlen_kv = std::int64_t{1} << 24;
  EXPECT_FALSE(holds(gauss, {}));
  EXPECT_FALSE(holds(sink, {}));
  EXPECT_FALSE(holds(endless, {}));
}

}  // namespace
}  // namespace ringproof

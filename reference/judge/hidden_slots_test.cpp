#include "reference/judge/hidden_slots.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "reference/spec/arithmetic.h"
#include "reference/spec/case.h"

namespace ringproof {
namespace {

Problem problem_of(const std::string& mask, const std::string& shape = "b2.hq4.hkv2.sq9.skv11.dqk8.dv4") {
  return parse_case("fwd/fp32/" + shape + "/" + mask + "/scale0.35/gauss:5/bhsd/single").problem;
}

// K with the poison of `level` in it, the rest 0.
Tensor poisoned(const Problem& problem, int level) {
  Tensor k(problem.dtype, problem.shape_k());
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(problem.seqlen_kv));
  std::iota(tokens.begin(), tokens.end(), std::int64_t{0});
  HiddenSlots(problem, 7, level, false).poison(k.view(), tokens, problem.dtype, 1);
  return k;
}

TEST(HiddenSlots, AreTheKeysNoRowSeesAtLevelsZeroAndOne) {
  const Problem problem = problem_of("causal_top_left");  // keys 9 and 10 are beyond every row
  for (const int level : {0, 1}) {
    const Tensor k = poisoned(problem, level);
    for (std::int64_t key = 0; key < 11; ++key) {
      const double value = k.view().load(1, 1, key, 3);
      EXPECT_EQ(value != 0, key >= 9);
      EXPECT_EQ(std::isnan(value), key >= 9 && level == 1);
    }
  }
}

TEST(HiddenSlots, OfLevelTwoAreWhatOneRowDoesNotSeeAndTellWhichRowsTheySpoil) {
  for (const char* mask : {"causal_top_left", "causal_bottom_right", "window(2,1)", "window(-1,0)", "full"}) {
    const Problem problem = problem_of(mask);
    const Visibility visibility(problem);
    const Tensor k = poisoned(problem, 2);
    const std::vector<bool> spoiled = HiddenSlots(problem, 7, 2, false).spoiled_rows();
    std::size_t at = 0;
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t h = 0; h < 4; ++h) {
        std::int64_t unharmed = 0;
        for (std::int64_t row = 0; row < 9; ++row, ++at) {
          bool sees_nan = false;
          for (std::int64_t key = 0; key < 11; ++key) {
            sees_nan = sees_nan || (visibility.sees(row, key) && std::isnan(k.view().load(b, h / 2, key, 0)));
          }
          EXPECT_EQ(spoiled[at], sees_nan) << mask << " row " << row;
          unharmed += !sees_nan;
        }
        EXPECT_GE(unharmed, 1) << mask << ": the row drawn must stay judged";
      }
    }
  }
}

TEST(HiddenSlots, PoisonIsLargeAndItsSquareTimesAHeadDimIsFinite) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    const Dtype accumulator = resolve({}, dtype).accumulator_dtype;
    for (std::uint64_t call = 1; call < 50; ++call) {
      const double poison = finite_poison(dtype, call, static_cast<std::int64_t>(call) * 7);
      EXPECT_EQ(round_to(dtype, poison), poison);
      EXPECT_GE(std::fabs(poison), 64);
      EXPECT_TRUE(std::isfinite(round_to(accumulator, poison * poison * 4096)));
    }
  }
}

}  // namespace
}  // namespace ringproof

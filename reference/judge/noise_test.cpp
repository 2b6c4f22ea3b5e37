#include "reference/judge/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "reference/judge/plain_kernel_test.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

NoiseSums sums_of(std::int64_t rows, double low, double high) {
  NoiseSums sums;
  for (std::int64_t row = 0; row < rows; ++row) sums.add(row % 2 == 0 ? low : high);
  return sums;
}

TEST(Noise, IsRejectedFourStandardErrorsBeyondItsLimit) {
  EXPECT_TRUE(noise_is_accepted(sums_of(400, 1.1024, 1.1024)));
  EXPECT_FALSE(noise_is_accepted(sums_of(400, 1.2, 1.2)));
  // sd = 0.5, se = 0.025: a mean of 1.2 lies 3.9 of them beyond, 1.21 lies 4.3.
  EXPECT_TRUE(noise_is_accepted(sums_of(400, 0.7, 1.7)));
  EXPECT_FALSE(noise_is_accepted(sums_of(400, 0.71, 1.71)));
  EXPECT_EQ(noise_figure(sums_of(400, 0.25, 0.25)), 0.5);
}

TEST(Noise, NeedsTwoHundredRowsAndNoNaN) {
  EXPECT_TRUE(noise_is_accepted(sums_of(199, 9, 9)));
  EXPECT_FALSE(noise_is_accepted(sums_of(200, 9, 9)));
  EXPECT_TRUE(noise_is_accepted({}));
  EXPECT_TRUE(std::isnan(noise_figure({})));
  NoiseSums sums = sums_of(300, 0.9, 0.9);
  sums.add(std::nan(""));
  EXPECT_FALSE(noise_is_accepted(sums));
  NoiseSums pooled = sums_of(150, 9, 9);
  pooled.add(sums_of(150, 9, 9));
  EXPECT_EQ(pooled.rows, 300);
  EXPECT_FALSE(noise_is_accepted(pooled));
}

std::string line_of(const std::string& dtype, const std::string& recipe, int seed,
                    const std::string& shape = "b2.hq2.hkv1.sq220.skv300.dqk16.dv16") {
  return "fwd/" + dtype + "/" + shape + "/causal_bottom_right/scale0.25/" + recipe + ":" + std::to_string(seed) +
         "/bhsd/single";
}

Evidence judged(const PlainKernel& kernel, const Reference& reference, Arithmetic declared = {}) {
  return compare("kernel", reference, resolve(declared, reference.c.problem.dtype), run_plain(kernel, reference));
}

TEST(Noise, OfCorrectKernelsIsBelowOneAndAccepted) {
  for (const Dtype storage : {Dtype::kBf16, Dtype::kF16}) {
    for (int seed = 1; seed <= 2; ++seed) {
      const Reference reference = prepare(parse_case(line_of(std::string(to_string(storage)), "gauss", seed)), 1);
      PlainKernel kernel = correct_kernel(storage), no_cast = kernel, cast_in_l = kernel;
      no_cast.cast_p = [](double x) { return x; };
      cast_in_l.l_sums_cast_p = true;
      Arithmetic exact_p, summed_cast;
      exact_p.p_dtype = Dtype::kF32;
      summed_cast.l_sums_cast_p = true;
      for (const Evidence& one : {judged(kernel, reference), judged(no_cast, reference, exact_p),
                                  judged(cast_in_l, reference, summed_cast)}) {
        EXPECT_EQ(verify_case(one).reason, "");
        EXPECT_TRUE(one.noise.is_judged);
        EXPECT_EQ(one.noise.all_heads.rows, 4 * 220);
        EXPECT_GE(noise_figure(one.noise.all_heads), 0.8);
        EXPECT_LE(noise_figure(one.noise.all_heads), 1.05);
      }
    }
  }
}

// P in 7 bits instead of bf16's 8.
TEST(Noise, RejectsACoarserRoundingOfP) {
  const Reference reference = prepare(parse_case(line_of("bf16", "gauss", 7)), 1);
  PlainKernel kernel = correct_kernel(Dtype::kBf16);
  kernel.cast_p = [](double x) {
    const double unit = std::ldexp(1.0, std::ilogb(x) - 6);
    return x == 0 ? 0 : std::nearbyint(x / unit) * unit;
  };
  const Evidence one = judged(kernel, reference);
  EXPECT_FALSE(noise_is_accepted(one.noise.all_heads)) << noise_figure(one.noise.all_heads);
  const std::vector<std::string> checks = failing_checks(one);
  EXPECT_NE(std::find(checks.begin(), checks.end(), "noise figure of out"), checks.end());
  EXPECT_NE(verify_case(one).reason.find("the noise figure of out is 1."), std::string::npos);
}

TEST(Noise, NamesTheHeadThatIsNoisy) {
  const Reference reference = prepare(parse_case(line_of("bf16", "gauss", 8)), 1);
  PlainKernel kernel = correct_kernel(Dtype::kBf16);
  kernel.cast_p = [](double x) {
    const double unit = std::ldexp(1.0, std::ilogb(x) - 5);
    return x == 0 ? 0 : std::nearbyint(x / unit) * unit;
  };
  kernel.faulty_head = 1;
  const Evidence one = judged(kernel, reference);
  EXPECT_FALSE(noise_is_accepted(one.noise.worst_head));
  EXPECT_EQ(one.noise.worst_index[1], 1);
  EXPECT_NE(verify_case(one).reason.find(", head 1, beyond 1.05"), std::string::npos) << verify_case(one).reason;
}

TEST(Noise, IsShownAndNotJudgedWhereSigmaDoesNotKnowTheRoundings) {
  const Reference wide = prepare(parse_case(line_of("fp32", "gauss", 1, "b1.hq1.hkv1.sq30.skv40.dqk8.dv4")), 1);
  EXPECT_FALSE(judged(correct_kernel(Dtype::kF32), wide).noise.is_judged);
  EXPECT_EQ(judged(correct_kernel(Dtype::kF32), wide).noise.all_heads.rows, 30);
  const Reference peaked = prepare(parse_case(line_of("bf16", "peaked", 1, "b1.hq1.hkv1.sq30.skv40.dqk8.dv4")), 1);
  EXPECT_FALSE(judged(correct_kernel(Dtype::kBf16), peaked).noise.is_judged);
  const Reference narrow = prepare(parse_case(line_of("bf16", "gauss", 1, "b1.hq1.hkv1.sq30.skv40.dqk8.dv4")), 1);
  EXPECT_TRUE(judged(correct_kernel(Dtype::kBf16), narrow).noise.is_judged);
  Arithmetic bf16_sums, bf16_parts, bf16_scores;
  bf16_sums.accumulator_dtype = Dtype::kBf16;
  bf16_parts.partial_dtype = Dtype::kBf16, bf16_parts.merges = 1;
  bf16_scores.score_dtype = Dtype::kBf16;
  EXPECT_FALSE(judged(correct_kernel(Dtype::kBf16), narrow, bf16_sums).noise.is_judged);
  EXPECT_FALSE(judged(correct_kernel(Dtype::kBf16), narrow, bf16_parts).noise.is_judged);
  EXPECT_LE(judged(correct_kernel(Dtype::kBf16), narrow, bf16_scores).noise.all_heads.rows, 5);
}

// 300 rows of one and the same P are one draw; rows of one key are none.
TEST(Noise, CountsRowsOfEqualWeightsOnce) {
  const Reference equal =
      prepare(parse_case("fwd/bf16/b1.hq2.hkv1.sq150.skv40.dqk8.dv4/full/scale0.25/uniform_probe:1/bhsd/single"), 1);
  EXPECT_EQ(judged(correct_kernel(Dtype::kBf16), equal).noise.all_heads.rows, 1);
  const Reference single =
      prepare(parse_case("fwd/bf16/b1.hq2.hkv1.sq50.skv50.dqk8.dv4/window(0,0)/scale0.25/gauss:1/bhsd/single"), 1);
  EXPECT_EQ(judged(correct_kernel(Dtype::kBf16), single).noise.all_heads.rows, 0);
}

}  // namespace
}  // namespace ringproof

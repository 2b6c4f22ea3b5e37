// Each rule is held to numbers just on both sides of the line it publishes.

#include "reference/judge/published_rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "reference/judge/eager_baseline.h"
#include "reference/judge/reference.h"

namespace ringproof {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

bool accepts(const std::string& name, const std::vector<double>& want, const std::vector<double>& got,
             Dtype storage = Dtype::kF32, std::vector<double> baseline = {}) {
  if (baseline.empty()) baseline = want;
  for (const PublishedRule& rule : published_rules()) {
    if (rule.name == name) return rule.accepts({storage, want, got, baseline});
  }
  ADD_FAILURE() << "no rule " << name;
  return false;
}

TEST(PublishedRules, DrawTheLineWhereTheirSourcesDrawIt) {
  EXPECT_TRUE(accepts("allclose 1e-2", {1}, {1.0199}));
  EXPECT_FALSE(accepts("allclose 1e-2", {1}, {1.0201}));
  EXPECT_TRUE(accepts("fixed 2.5e-2", {100}, {100.02}));
  EXPECT_FALSE(accepts("fixed 2.5e-2", {100}, {100.03}));
  EXPECT_TRUE(accepts("fixed 0.1", {0}, {0.09}));
  EXPECT_FALSE(accepts("fixed 0.1", {0}, {0.11}));
}

TEST(PublishedRules, TakeTorchsDefaultsByDtype) {
  EXPECT_TRUE(accepts("torch.testing", {1}, {1.015}, Dtype::kBf16));
  EXPECT_FALSE(accepts("torch.testing", {1}, {1.015}, Dtype::kF16));
  EXPECT_TRUE(accepts("torch.testing", {1}, {1.001}, Dtype::kF16));
  EXPECT_FALSE(accepts("torch.testing", {1}, {1.001}, Dtype::kF32));
  EXPECT_TRUE(accepts("torch.testing", {1}, {1.00001}, Dtype::kF32));
  EXPECT_FALSE(accepts("torch.testing", {1}, {1.00001}, Dtype::kF64));
}

TEST(PublishedRules, AllowTwiceTheErrorOfTheSameDtypesBaselineAndItsAbsolutePart) {
  // In bf16 0.3 is 0.30078125, 1 + 0.3 rounds to 1.296875 and less 0.3 to 1 - 2^-8: the absolute part is 2^-7.
  EXPECT_TRUE(accepts("FlashAttention 2x", {1}, {1.03125}, Dtype::kBf16, {1.015625}));
  EXPECT_FALSE(accepts("FlashAttention 2x", {1}, {1.046875}, Dtype::kBf16, {1.015625}));
  EXPECT_FALSE(accepts("FlashAttention 2x", {1}, {1.03125}, Dtype::kBf16, {1}));
}

TEST(PublishedRules, MeasureTheAngleOfWholeTensors) {
  EXPECT_TRUE(accepts("cosine 0.99", {1, 0}, {2, 0.2}));
  EXPECT_FALSE(accepts("cosine 0.999", {1, 0}, {2, 0.2}));
  EXPECT_TRUE(accepts("cosine 0.999", {0, 0}, {0, 0}));
}

TEST(PublishedRules, RefuseNanAndTakeEqualInfinitiesAsEqual) {
  for (const PublishedRule& rule : published_rules()) {
    const std::vector<double> want{1, 2, 3}, got{1, kNan, 3};
    EXPECT_FALSE(rule.accepts({Dtype::kF32, want, got, want})) << rule.name;
    EXPECT_TRUE(rule.accepts({Dtype::kF32, want, want, want})) << rule.name;
  }
  EXPECT_TRUE(accepts("fixed 0.1", {kInfinity}, {kInfinity}));
  EXPECT_FALSE(accepts("fixed 0.1", {kInfinity}, {-kInfinity}));
}

TEST(TheEagerBaseline, IsNearTheAnswerAndOfItsDtype) {
  const Case c =
      parse_case("fwd/bf16/b2.hq4.hkv2.sq20.skv30.dqk16.dv8/causal_bottom_right/scale0.25/gauss:7/bhsd/single");
  const Reference reference = prepare(c, 1);
  const std::vector<double> got = eager_baseline(c.problem, reference.inputs);
  ASSERT_EQ(got.size(), reference.want.out.value.size());
  bool differs = false;
  for (const double value : got) EXPECT_EQ(value, round_to(Dtype::kBf16, value));
  for (std::size_t at = 0; at < got.size(); ++at) {
    differs = differs || got[at] != round_to(Dtype::kBf16, reference.want.out.value[at]);
  }
  EXPECT_TRUE(differs);
  EXPECT_TRUE(accepts("cosine 0.999", reference.want.out.value, got, Dtype::kBf16));
}

// One row of score `score` at the first key and 0 at the second, of values 1 and 0: O is the first key's probability.
double first_of_two(const Case& c, double q, double k, float sink = 0) {
  Inputs inputs = prepare(c, 1).inputs;
  inputs.q.view().store(0, 0, 0, 0, q);
  inputs.k.view().store(0, 0, 0, 0, k);
  inputs.k.view().store(0, 0, 1, 0, 0);
  inputs.v.view().store(0, 0, 0, 0, 1);
  inputs.v.view().store(0, 0, 1, 0, 0);
  if (c.problem.has_sink) inputs.sink[0] = sink;
  return eager_baseline(c.problem, inputs)[0];
}

Case two_keys(const std::string& dtype, const std::string& scalars) {
  return parse_case("fwd/" + dtype + "/b1.hq1.hkv1.sq1.skv2.dqk1.dv1/full/" + scalars + "/gauss:7/bhsd/single");
}

TEST(TheEagerBaseline, RoundsAfterEveryOperationOfTheSoftcap) {
  const Case c = two_keys("bf16", "scale1,softcap3");
  const auto rounded = [](double x) { return round_to(Dtype::kBf16, x); };
  int count_other = 0;
  for (int n = 1; n <= 64; ++n) {
    const double score = n / 16.0;  // a bf16 number
    const double capped = rounded(3 * rounded(std::tanh(rounded(score / 3))));
    EXPECT_EQ(first_of_two(c, score, 1), rounded(1 / (1 + std::exp(-capped)))) << score;
    count_other += capped != rounded(3 * std::tanh(score / 3));
  }
  EXPECT_GT(count_other, 0);  // or the inner roundings are not looked at
}

TEST(TheEagerBaseline, CountsTheSinkAsOneScoreMore) {
  EXPECT_EQ(first_of_two(two_keys("bf16", "scale1,sink"), 0, 1, 0), round_to(Dtype::kBf16, 1.0 / 3));
  EXPECT_EQ(first_of_two(two_keys("fp32", "scale1,sink"), 0, 1, 1000), 0);
  EXPECT_EQ(first_of_two(two_keys("fp32", "scale1,sink"), 0, 1, -1000), 0.5);
  // Its logit is rounded to the dtype of O, and no softcap bears on it.
  EXPECT_EQ(first_of_two(two_keys("bf16", "scale1,softcap1,sink"), 0, 1, 1000.5F), 0);
}

TEST(TheEagerBaseline, DescalesEveryOperandOfFp8) {
  const Case c = two_keys("fp8_e4m3", "scale0.5,descale(2,3,4)");
  const double score = 2 * 1.5 * (3 * 0.5 * 0.5);
  EXPECT_EQ(first_of_two(c, 1.5, 0.5), 4 * round_to(Dtype::kBf16, 1 / (1 + std::exp(-score))));
}

TEST(TheEagerBaseline, GivesRowsThatSeeNothingZero) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq4.skv2.dqk2.dv1/causal_bottom_right/scale0.5/gauss:7/bhsd/single");
  const std::vector<double> got = eager_baseline(c.problem, prepare(c, 1).inputs);
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[1], 0);
  EXPECT_NE(got[3], 0);
}

}  // namespace
}  // namespace ringproof

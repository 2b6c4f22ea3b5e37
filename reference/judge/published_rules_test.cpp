// Each rule is held to numbers just on both sides of the line it publishes.

#include "reference/judge/published_rules.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(TheEagerBaseline, GivesRowsThatSeeNothingZero) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq4.skv2.dqk2.dv1/causal_bottom_right/scale0.5/gauss:7/bhsd/single");
  const std::vector<double> got = eager_baseline(c.problem, prepare(c, 1).inputs);
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[1], 0);
  EXPECT_NE(got[3], 0);
}

}  // namespace
}  // namespace ringproof

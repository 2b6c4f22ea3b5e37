#include "reference/judge/power.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "reference/judge/compare.h"
#include "reference/judge/verify.h"
#include "reference/judge/yardstick.h"

namespace ringproof {
namespace {

using Edit = std::function<void(Arithmetic&)>;

Arithmetic declared_by(const Edit& edit) {
  Arithmetic declared;
  edit(declared);
  return declared;
}

Reference reference_of(const std::string& line) { return prepare(parse_case(line), 1); }

const std::string kGauss = "b1.hq2.hkv2.sq24.skv100.dqk32.dv16/causal_bottom_right/scale0.17/gauss:5/bhsd/single";
const std::string kWalsh = "b1.hq2.hkv2.sq24.skv100.dqk32.dv16/full/scale0.17/walsh_probe:5/bhsd/single";

double effect(const Power& power, Effect which) { return power.effects[static_cast<std::size_t>(which)]; }
Sight sight(const Power& power, FloorFault which) { return power.faults[static_cast<std::size_t>(which)].sight; }

// The exact answer with O multiplied and lse shifted, rounded to the dtypes of the answer.
Got altered(const Reference& reference, double factor, double shift) {
  const Problem& p = reference.c.problem;
  Got got{CallStatus::kReturned,
          "",
          Tensor(dtype_of_out(p.dtype), p.shape_out()),
          Tensor(dtype_of_lse(p.dtype), p.shape_lse()),
          true,
          {},
          0};
  for (std::int64_t at = 0; at < element_count(p.shape_out()); ++at) {
    const std::int64_t row = at / p.head_dim_v;
    const std::int64_t h = row / p.seqlen_q, i = row % p.seqlen_q;  // one batch
    const auto index = static_cast<std::size_t>(at);
    got.out.view().store(0, h, i, at % p.head_dim_v, reference.want.out.value[index] * factor);
    got.lse.view().store(0, h, i, 0, reference.want.lse.value[static_cast<std::size_t>(row)] + shift);
  }
  return got;
}

bool is_rejected(const Reference& reference, const Got& got) {
  return !failing_checks(compare("", reference, resolve({}, reference.c.problem.dtype), got)).empty();
}

TEST(Power, IsTheLeastEffectThatTheJudgeRejects) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = reference_of("fwd/" + std::string(dtype) + "/" + kGauss);
    const Power power = PowerMeter(reference, 2, 1).measure({}, true);
    const double shrink = effect(power, Effect::kShrink), shift = effect(power, Effect::kLse);
    EXPECT_TRUE(is_rejected(reference, altered(reference, 1 - shrink, 0))) << dtype;
    EXPECT_FALSE(is_rejected(reference, altered(reference, 1 - shrink / 2, 0))) << dtype;
    EXPECT_TRUE(is_rejected(reference, altered(reference, 1, shift))) << dtype;
    EXPECT_FALSE(is_rejected(reference, altered(reference, 1, shift / 2))) << dtype;
    EXPECT_TRUE(std::isfinite(effect(power, Effect::kScale))) << dtype;
    EXPECT_TRUE(std::isfinite(effect(power, Effect::kKeyWeight))) << dtype;
    EXPECT_EQ(sight(power, FloorFault::kLastKeyDropped), Sight::kSeen) << dtype;
  }
}

// A scale that is off by x is a Case with another scale: its answer must be rejected at x, and accepted well below.
TEST(Power, OfTheScaleHoldsForTheExactAnswerOfAnotherScale) {
  const Reference reference = reference_of("fwd/fp32/" + kGauss);
  const double x = effect(PowerMeter(reference, 2, 1).measure({}, true), Effect::kScale);
  const auto answer_at = [&](double factor) {
    Reference other = reference;
    other.c.problem.softmax_scale *= factor;
    const Inputs& in = other.inputs;
    other.want = attention_forward(other.c.problem, in.q.view(), in.k.view(), in.v.view(), 1);
    return altered(other, 1, 0);
  };
  EXPECT_TRUE(is_rejected(reference, answer_at(1 + x)));
  EXPECT_FALSE(is_rejected(reference, answer_at(1 + x / 2)));
}

// O = 0 must come back as 0 there: a key that weighs ever so little less shows.
TEST(Power, IsSharpOnProbes) {
  const Reference reference = reference_of("fwd/bf16/" + kWalsh);
  const Power power = PowerMeter(reference, 2, 1).measure({}, true);
  EXPECT_LT(effect(power, Effect::kKeyWeight), 0x1p-40);
  EXPECT_EQ(effect(power, Effect::kScale), Power::kNotSeen);  // q = 0
  EXPECT_EQ(sight(power, FloorFault::kMaskEdgeMoved), Sight::kNotApplicable);
  EXPECT_EQ(sight(power, FloorFault::kRescaleSkipped), Sight::kUnseen);
}

TEST(Power, WithoutLseIsLess) {
  const Reference reference = reference_of("fwd/bf16/" + kGauss);
  const PowerMeter meter(reference, 2, 1);
  const Power with = meter.measure({}, true), without = meter.measure({}, false);
  EXPECT_EQ(effect(without, Effect::kLse), Power::kNotSeen);
  EXPECT_LT(effect(with, Effect::kScale), effect(without, Effect::kScale));
  EXPECT_EQ(effect(with, Effect::kShrink), effect(without, Effect::kShrink));
}

TEST(Power, OfNoRowIsNothing) {
  const Reference reference = reference_of("fwd/fp32/b1.hq1.hkv1.sq0.skv5.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single");
  const Power power = PowerMeter(reference, 2, 1).measure({}, true);
  for (const double least : power.effects) EXPECT_EQ(least, Power::kNotSeen);
  for (const FaultSight& fault : power.faults) EXPECT_EQ(fault.sight, Sight::kNotApplicable);
}

struct Declaration {
  std::string what;
  std::string dtype;
  Edit edit;
};

std::vector<PowerLoss> losses(const Declaration& declaration, const std::string& rest) {
  const Reference reference = reference_of("fwd/" + declaration.dtype + "/" + rest);
  const PowerMeter meter(reference, 2, 1);
  const Arithmetic declared = declared_by(declaration.edit);
  return meter.lost(meter.measure(declared, true), declared, true);
}

TEST(Power, IsLostToDeclarationsThatBlind) {
  const Declaration blinding[]{
      {"exp 0.05", "fp32", [](Arithmetic& a) { a.exp_error_relative = 0.05; }},
      {"exp 0.05", "bf16", [](Arithmetic& a) { a.exp_error_relative = 0.05; }},
      {"1000000 merges", "fp32", [](Arithmetic& a) { a.merges = 1'000'000; }},
      {"1000000 merges", "bf16", [](Arithmetic& a) { a.merges = 1'000'000; }},
      {"P fp8_e4m3", "bf16", [](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3; }},
      {"P fp8_e4m3", "fp32", [](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3; }},
      {"accumulators bf16", "bf16",
       [](Arithmetic& a) { a.accumulator_dtype = Dtype::kBf16, a.accumulation_depth = 1'000'000; }},
      {"scores fp8_e5m2", "fp16", [](Arithmetic& a) { a.score_dtype = Dtype::kF8E5m2; }},
      {"partials fp8_e4m3", "fp32", [](Arithmetic& a) { a.partial_dtype = Dtype::kF8E4m3, a.merges = 1; }},
      {"operands bf16", "fp32", [](Arithmetic& a) { a.operand_dtype = Dtype::kBf16; }},
      {"truncating accumulators of 8 bits", "fp16",
       [](Arithmetic& a) { a.mma_block = 16, a.accumulator_fraction_bits = 8; }}};
  for (const Declaration& declaration : blinding) {
    const std::vector<PowerLoss> lost = losses(declaration, kGauss);
    ASSERT_FALSE(lost.empty()) << declaration.what << " " << declaration.dtype;
    for (const PowerLoss& loss : lost) {
      EXPECT_NE(loss.field.find(declaration.what), std::string::npos) << to_string(loss);
    }
  }
}

// Only where a softcap asks for it does the error of tanh hide anything.
TEST(Power, IsLostToACoarseTanhUnderASoftcap) {
  const std::string capped =
      "b1.hq2.hkv2.sq24.skv100.dqk32.dv16/causal_bottom_right/scale0.17,softcap2,sink/gauss:5/bhsd/single";
  for (const char* dtype : {"fp32", "bf16"}) {
    const Declaration coarse{"tanh 0.05", dtype, [](Arithmetic& a) { a.tanh_error_relative = 0.05; }};
    const std::vector<PowerLoss> lost = losses(coarse, capped);
    EXPECT_FALSE(lost.empty()) << dtype;
    for (const PowerLoss& loss : lost) EXPECT_EQ(loss.field, "tanh 0.05");
    EXPECT_TRUE(losses(coarse, kGauss).empty()) << dtype;
    EXPECT_TRUE(losses({"", dtype, [](Arithmetic& a) { a.tanh_error_relative = 0x1p-11; }}, capped).empty()) << dtype;
    const Reference reference = reference_of("fwd/" + std::string(dtype) + "/" + capped);
    const Power power = PowerMeter(reference, 2, 1).measure({}, true);
    for (const double least : power.effects) EXPECT_TRUE(std::isfinite(least)) << dtype;
    for (const FaultSight& fault : power.faults) EXPECT_EQ(fault.sight, Sight::kSeen) << dtype;
  }
}

TEST(Power, IsKeptByHonestDeclarations) {
  const Declaration honest[]{
      {"nothing", "bf16", [](Arithmetic&) {}},
      {"TF32 operands", "fp32", [](Arithmetic& a) { a.operand_dtype = a.p_dtype = Dtype::kTf32; }},
      {"l sums the cast P", "bf16", [](Arithmetic& a) { a.l_sums_cast_p = true; }},
      {"lerp merges", "fp32", [](Arithmetic& a) { a.merge_is_lerp = true, a.merges = 3; }},
      {"a cubic exponential", "bf16", [](Arithmetic& a) { a.exp_error_relative = 8.8e-5; }},
      {"a split with 7 merges", "fp16", [](Arithmetic& a) { a.merges = 7, a.partial_dtype = Dtype::kF16; }},
      {"a little beyond the yardstick", "fp32", [](Arithmetic& a) { a.exp_error_relative = 0x1.8p-13; }},
      {"merges nobody would notice", "bf16", [](Arithmetic& a) { a.merges = 40; }}};
  for (const Declaration& declaration : honest) {
    for (const std::string& rest : {kGauss, kWalsh}) {
      for (const PowerLoss& loss : losses(declaration, rest)) {
        ADD_FAILURE() << declaration.what << ": " << to_string(loss);
      }
    }
  }
}

// A kernel of zeros buys no acceptance with a coarse exponential.
TEST(Power, AKernelOfZerosIsNeverAcceptedForItsDeclaration) {
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const std::string& rest : {kGauss, kWalsh}) {
      const Reference reference = reference_of("fwd/" + std::string(dtype) + "/" + rest);
      const Problem& p = reference.c.problem;
      const Arithmetic declared = declared_by([](Arithmetic& a) { a.exp_error_relative = 0.05; });
      Got zeros = altered(reference, 0, 0);
      zeros.has_lse = false;
      Evidence evidence = compare("zeros", reference, resolve(declared, p.dtype), zeros);
      evidence.hidden = hidden_by_declaration(reference, declared, false, 2, evidence.zeros);
      EXPECT_FALSE(evidence.hidden.empty()) << dtype << " " << rest;
      EXPECT_NE(verify_case(evidence).outcome, Outcome::kAccepted);
      evidence = compare("exact", reference, resolve(declared, p.dtype), altered(reference, 1, 0));
      evidence.hidden = hidden_by_declaration(reference, declared, true, 2, evidence.zeros);
      EXPECT_EQ(verify_case(evidence).outcome, Outcome::kInconclusive);
      EXPECT_NE(verify_case(evidence).reason.find("exp 0.05"), std::string::npos);
    }
  }
}

// Scores rounded to the storage's format are within the yardstick; far from zero they hide everything all the same.
TEST(Power, ADeclarationWithinItsYardstickMayNotHideAnAnswerOfZeros) {
  const std::string line = "fwd/bf16/b1.hq1.hkv1.sq8.skv2000.dqk16.dv8/full/scale0.25/large_offset(20):5/bhsd/single";
  const Reference reference = reference_of(line);
  const auto hidden_by = [&](const Edit& edit) {
    const Arithmetic declared = declared_by(edit);
    Got zeros = altered(reference, 0, 0);
    const Evidence evidence = compare("zeros", reference, resolve(declared, Dtype::kBf16), zeros);
    EXPECT_TRUE(fields_beyond_yardstick(declared, Dtype::kBf16, 2000).empty());
    return hidden_by_declaration(reference, declared, true, 2, evidence.zeros);
  };
  EXPECT_EQ(hidden_by([](Arithmetic& a) { a.score_dtype = Dtype::kBf16; }),
            std::vector<std::string>{"an answer of zeros would not be seen, for its declared scores bf16"});
  EXPECT_TRUE(hidden_by([](Arithmetic&) {}).empty());
  EXPECT_TRUE(hidden_by([](Arithmetic& a) { a.l_sums_cast_p = true; }).empty());
  EXPECT_TRUE(hidden_by([](Arithmetic& a) { a.exp_error_relative = 0x1p-13; }).empty());
}

TEST(Power, LostToSeveralFieldsNamesThemAll) {
  const Declaration both{"", "fp32", [](Arithmetic& a) { a.exp_error_relative = 0.05, a.merges = 1'000'000; }};
  for (const PowerLoss& loss : losses(both, kGauss)) EXPECT_EQ(loss.field, "exp 0.05 and 1000000 merges");
  const Declaration one{"", "bf16", [](Arithmetic& a) { a.exp_error_relative = 0x1.8p-13, a.merges = 1'000'000; }};
  for (const PowerLoss& loss : losses(one, kGauss)) EXPECT_EQ(loss.field, "1000000 merges");
}

TEST(PowerLoss, SaysWhatIsHiddenAndByWhat) {
  EXPECT_EQ(to_string(PowerLoss{"last key dropped", true, 0, 0, "exp 0.05"}),
            "last key dropped would not be seen, for its declared exp 0.05");
  EXPECT_EQ(to_string(PowerLoss{"lse shift", false, 0.25, 1e-6, "exp 0.05"}),
            "lse shift would be seen only from 0.25 on instead of from 1e-06 on, for its declared exp 0.05");
  EXPECT_EQ(to_string(PowerLoss{"scale", false, Power::kNotSeen, 1e-6, "exp 0.05"}),
            "scale would be seen not at all instead of from 1e-06 on, for its declared exp 0.05");
}

TEST(Power, PooledIsTheBestOfBoth) {
  Power one, other;
  one.effects = {1, Power::kNotSeen, 3, 4};
  other.effects = {2, 5, 1, Power::kNotSeen};
  one.faults[0] = {Sight::kUnseen, "bound used 0.3", 0.3};
  other.faults[0] = {Sight::kSeen, "bound of out", 7};
  one.faults[1] = {Sight::kUnseen, "bound used 0.3", 0.3};
  other.faults[1] = {Sight::kUnseen, "bound used 0.9", 0.9};
  one.faults[2] = {Sight::kNotApplicable, "one kv head", 0};
  pool(one, other);
  EXPECT_EQ(one.effects, (std::array<double, 4>{1, 5, 1, 4}));
  EXPECT_EQ(one.faults[0].sight, Sight::kSeen);
  EXPECT_EQ(one.faults[1].why, "bound used 0.9");
  EXPECT_EQ(one.faults[2].why, "one kv head");
  Power nothing;
  pool(nothing, one);
  EXPECT_EQ(nothing.effects, one.effects);
  EXPECT_EQ(nothing.faults[2].why, "one kv head");
}

TEST(LengthClass, HoldsRowsOfAlikeLength) {
  const std::pair<std::int64_t, int> wanted[]{{0, 0},    {1, 0},    {16, 0},   {17, 1},   {128, 1},    {129, 2},
                                              {1024, 2}, {1025, 3}, {8192, 3}, {8193, 4}, {1 << 20, 4}};
  for (const auto& [keys, index] : wanted) EXPECT_EQ(length_class(keys), index) << keys;
  EXPECT_STREQ(length_class_name(0), "1-16");
  EXPECT_STREQ(length_class_name(4), "8,193-");
}

}  // namespace
}  // namespace ringproof

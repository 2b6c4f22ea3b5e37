#include "reference/judge/zero_control.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

Reference reference_of(const std::string& dtype, const std::string& recipe, const std::string& mask = "full") {
  return prepare(parse_case("fwd/" + dtype + "/b1.hq2.hkv1.sq6.skv512.dqk16.dv8/" + mask + "/scale0.25/" + recipe +
                            ":5/bhsd/single"),
                 1);
}

ZeroControl control_of(const Reference& reference, const Arithmetic& declared = {}) {
  return zero_control(reference, resolve(declared, reference.c.problem.dtype));
}

Got zeros_of(const Reference& reference) {
  const Problem& p = reference.c.problem;
  return {
      CallStatus::kReturned, "", {dtype_of_out(p.dtype), p.shape_out()}, {dtype_of_lse(p.dtype), p.shape_lse()}, false};
}

Evidence of_zeros(const Reference& reference, const Arithmetic& declared = {}) {
  return compare("zeros", reference, resolve(declared, reference.c.problem.dtype), zeros_of(reference));
}

TEST(ZeroControl, CountsWhatAKernelOfZerosPasses) {
  for (const char* dtype : {"fp32", "bf16", "fp8_e4m3", "fp8_e5m2"}) {
    for (const char* recipe : {"gauss", "uniform_probe", "peaked"}) {
      const Reference reference = reference_of(dtype, recipe);
      const Evidence evidence = of_zeros(reference);
      const TensorEvidence& out = evidence.tensors[0];
      EXPECT_EQ(evidence.zeros.judged, out.count - out.count_not_judged) << dtype << recipe;
      EXPECT_EQ(evidence.zeros.inside, out.count - out.count_not_judged - out.count_outside) << dtype << recipe;
      EXPECT_EQ(control_of(reference).inside, evidence.zeros.inside);
    }
  }
}

TEST(ZeroControl, IsWiderWhereTheCastOfPIsCoarser) {
  Arithmetic coarse;
  coarse.p_dtype = Dtype::kF8E5m2;
  const Reference reference = reference_of("fp32", "gauss");
  EXPECT_EQ(control_of(reference).share(), 0);
  EXPECT_GT(control_of(reference, coarse).share(), control_of(reference).share());
}

TEST(ZeroControl, LeavesOutRowsThatSeeNothingAndRowsThatHaveNoAnswer) {
  // Of six rows against two keys the first four of each head are empty.
  const Reference reference = prepare(
      parse_case("fwd/fp32/b1.hq2.hkv1.sq6.skv2.dqk16.dv8/causal_bottom_right/scale0.25/gauss:5/bhsd/single"), 1);
  EXPECT_EQ(control_of(reference).judged, 2 * 2 * 8);
  EXPECT_EQ(control_of(reference).inside, 0);
  const Bounds bounds = bound_forward(reference.c, resolve({}, Dtype::kF32), reference.want);
  std::vector<bool> left_out(12, false);
  left_out[11] = true;
  EXPECT_EQ(zero_control(reference, bounds, left_out).judged, 3 * 8);
}

const Fact* zeros_fact(const Verdict& verdict) {
  for (const Fact& fact : verdict.facts) {
    if (fact.name == "zeros inside the bound") return &fact;
  }
  return nullptr;
}

TEST(ZeroControl, StandsBesideEveryVerdictOnFp8) {
  const Verdict fp8 = verify(std::vector{of_zeros(reference_of("fp8_e4m3", "peaked"))}, "");
  ASSERT_NE(zeros_fact(fp8), nullptr);
  EXPECT_EQ(zeros_fact(fp8)->unit, "1");
  EXPECT_EQ(zeros_fact(verify(std::vector{of_zeros(reference_of("bf16", "peaked"))}, "")), nullptr);
}

TEST(ZeroControl, WarnsFromMoreThanHalfOnInAnyStorage) {
  Evidence half = of_zeros(reference_of("bf16", "peaked"));
  half.zeros = {4, 2};
  EXPECT_EQ(zeros_fact(verify(std::vector{half}, "")), nullptr);
  Evidence more = half;
  more.zeros = {3, 2};
  const Verdict both = verify(std::vector{half, more}, "");
  ASSERT_NE(zeros_fact(both), nullptr);
  EXPECT_EQ(zeros_fact(both)->value, 4.0 / 7);
  EXPECT_NE(zeros_fact(both)->measured_against.find("warning"), std::string::npos);
  // Shown, not judged: the outcome is that of the checks.
  EXPECT_EQ(both.outcome, verify(std::vector{half}, "").outcome);
  more.status = CallStatus::kFailed;
  EXPECT_EQ(zeros_fact(verify(std::vector{half, more}, "")), nullptr);
}

}  // namespace
}  // namespace ringproof

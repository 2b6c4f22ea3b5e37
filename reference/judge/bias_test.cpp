#include "reference/judge/bias.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference/judge/gamma.h"
#include "reference/judge/plain_kernel_test.h"
#include "reference/judge/simulated_kernel_test.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

TEST(Bias, IsTheSlopeOfTheErrorWithItsStandardErrorOverRows) {
  BiasSums sums;
  EXPECT_TRUE(std::isnan(bias(sums)));
  sums.add(-1, 8);
  sums.add(-3, 8);
  EXPECT_EQ(bias(sums), -0.25);
  // R / (R - 1) = 2, residuals 1 and -1, sum D = 16
  EXPECT_EQ(bias_error(sums), 2.0 / 16);
}

BiasSums sums_of(std::int64_t rows, double low, double high) {
  BiasSums sums;
  for (std::int64_t row = 0; row < rows; ++row) sums.add(row % 2 == 0 ? low : high, 1);
  return sums;
}

TEST(Bias, IsRejectedFiveStandardErrorsBeyondItsLimit) {
  // 400 rows, residuals 0.1: se = 0.1 / sqrt(399), five of them 0.02503.
  EXPECT_TRUE(bias_is_accepted(sums_of(400, -0.07, 0.13), 0.005));
  EXPECT_FALSE(bias_is_accepted(sums_of(400, -0.07, 0.13), 0.0049));
  EXPECT_FALSE(bias_is_accepted(sums_of(400, 0.07, -0.13), 0.0049));
  EXPECT_TRUE(bias_is_accepted(sums_of(199, 1, 1), 0));
  EXPECT_FALSE(bias_is_accepted(sums_of(200, 1, 1), 0));
  EXPECT_TRUE(bias_is_accepted(sums_of(300, 0, 0), 0));
  EXPECT_FALSE(bias_is_accepted(sums_of(300, std::nan(""), 1), 1));
  BiasSums pooled = sums_of(150, 1, 1);
  pooled.add(sums_of(150, 1, 1));
  EXPECT_FALSE(bias_is_accepted(pooled, 0.5));
  EXPECT_EQ(bias(pooled), 1);
}

TEST(Bias, MayBeWhatTheAccumulatorsSumsMayLean) {
  Arithmetic truncating;
  truncating.mma_block = 8, truncating.accumulator_fraction_bits = 24;
  const Arithmetic fp32 = resolve({}, Dtype::kF32), fp64 = resolve({}, Dtype::kF64);
  EXPECT_EQ(bias_limit(fp32, 1024), 4 * 0x1p-24 * 32);
  EXPECT_EQ(bias_limit(fp64, 1024), 4 * 0x1p-53 * 32);
  const Arithmetic cut = resolve(truncating, Dtype::kF32);
  EXPECT_EQ(bias_limit(cut, 1024), gamma_accumulator(cut, 1024) / 2);
  Arithmetic coarse;
  coarse.exp_error_relative = 8.8e-5;
  EXPECT_GE(bias_limit(resolve(coarse, Dtype::kF32), 1024), 2 * 8.7e-5);
}

std::string line_of(const std::string& dtype, int seed,
                    const std::string& shape = "b2.hq2.hkv1.sq220.skv300.dqk16.dv16") {
  return "fwd/" + dtype + "/" + shape + "/causal_bottom_right/scale0.25/gauss:" + std::to_string(seed) + "/bhsd/single";
}

Evidence judged(const PlainKernel& kernel, const Reference& reference) {
  return compare("kernel", reference, resolve({}, reference.c.problem.dtype), run_plain(kernel, reference));
}

bool rejects(const Evidence& evidence, const std::string& check) {
  const std::vector<std::string> checks = failing_checks(evidence);
  return std::find(checks.begin(), checks.end(), check) != checks.end();
}

struct Fault {
  std::string name;
  PlainKernel kernel;
};

std::vector<Fault> faults(Dtype storage) {
  const PlainKernel right = correct_kernel(storage);
  PlainKernel cut_p = right, cut_out = right, shrunk = right, large_l = right;
  cut_p.cast_p = [storage](double x) { return truncated(storage, x); };
  cut_out.cast_out = [storage](double x) { return truncated(storage, x); };
  shrunk.cast_out = [storage](double x) { return round_to(storage, x * 0.999); };
  large_l.l_factor = 1.0027;
  return {{"P cast toward zero", cut_p},
          {"O cast toward zero", cut_out},
          {"O shrunk by 0.1 %", shrunk},
          {"l too large by 0.27 %", large_l}};
}

TEST(Bias, RejectsWhatLeansToOneSide) {
  for (const Dtype storage : {Dtype::kBf16, Dtype::kF16}) {
    for (int seed = 1; seed <= 2; ++seed) {
      const Reference reference = prepare(parse_case(line_of(std::string(to_string(storage)), seed)), 1);
      for (const Fault& fault : faults(storage)) {
        const Evidence evidence = judged(fault.kernel, reference);
        EXPECT_TRUE(rejects(evidence, "bias of out")) << fault.name << " " << bias(evidence.bias.sums);
        EXPECT_NE(verify_case(evidence).reason.find(" % too small over 880 rows"), std::string::npos) << fault.name;
      }
      EXPECT_EQ(verify_case(judged(correct_kernel(storage), reference)).reason, "");
    }
  }
}

TEST(Bias, IsSaidInPerCent) {
  const Reference reference = prepare(parse_case(line_of("fp16", 1)), 1);
  const std::string reason = verify_case(judged(faults(Dtype::kF16).back().kernel, reference)).reason;
  EXPECT_NE(reason.find("out is 0.27 % too small over 880 rows: bias -0.0027 with"), std::string::npos) << reason;
}

TEST(Bias, OfCorrectKernelsIsAcceptedInEveryStorageAndOrderOfSums) {
  for (const Dtype storage : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    const std::string shape = "b2.hq2.hkv1.sq64.skv96.dqk8.dv4";
    std::vector<Evidence> all;
    for (int seed = 1; seed <= 6; ++seed) {
      const Reference reference = prepare(parse_case(line_of(std::string(to_string(storage)), seed, shape)), 1);
      for (const bool descending : {false, true}) {
        const SimulatedKernel kernel{resolve({}, storage), 16, descending, seed % 2 == 0};
        const SimulatedAnswer answer = simulate(kernel, reference);
        Got got = run_plain(correct_kernel(storage), reference);
        const TensorView out = got.out.view();
        const std::size_t size = size_bytes(out.dtype);
        for (std::size_t at = 0; at < answer.out.size(); ++at) {
          store(static_cast<std::byte*>(out.data) + at * size, out.dtype, answer.out[at]);
        }
        all.push_back(compare("kernel", reference, kernel.arithmetic, got));
        EXPECT_TRUE(all.back().bias.is_judged);
        EXPECT_EQ(all.back().bias.sums.rows, 256);
        EXPECT_EQ(verify_case(all.back()).reason, "");
      }
    }
    EXPECT_EQ(verify(all, "").reason, "");
    EXPECT_EQ(verify(all, "").bias.rows, 6 * 256) << "six draws of the inputs, each once";
  }
}

// 64 rows a Case are too few to judge; four Cases are not.
TEST(Bias, IsPooledOverCases) {
  std::vector<Evidence> all;
  PlainKernel kernel = correct_kernel(Dtype::kBf16);
  kernel.cast_p = [](double x) { return truncated(Dtype::kBf16, x); };
  for (int seed = 1; seed <= 4; ++seed) {
    const Reference reference = prepare(parse_case(line_of("bf16", seed, "b1.hq1.hkv1.sq64.skv300.dqk16.dv16")), 1);
    all.push_back(judged(kernel, reference));
    EXPECT_FALSE(rejects(all.back(), "bias of out"));
  }
  const Verdict verdict = verify(all, "");
  EXPECT_EQ(verdict.outcome, Outcome::kRejected);
  ASSERT_FALSE(verdict.failing_checks.empty());
  EXPECT_EQ(verdict.failing_checks.back(), "pooled bias of out");
  EXPECT_NE(verdict.reason.find("over all Cases out is 0."), std::string::npos) << verdict.reason;
  EXPECT_EQ(verdict.bias.rows, 256);
}

TEST(Bias, IsNotJudgedWhereADeclarationMayLean) {
  const Reference reference = prepare(parse_case(line_of("fp32", 1, "b1.hq1.hkv1.sq20.skv20.dqk8.dv4")), 1);
  for (const auto& declare : std::vector<void (*)(Arithmetic&)>{
           [](Arithmetic& a) { a.operand_dtype = Dtype::kTf32; }, [](Arithmetic& a) { a.score_dtype = Dtype::kBf16; },
           [](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3; },
           [](Arithmetic& a) { a.accumulator_dtype = Dtype::kF16; }}) {
    Arithmetic declared;
    declare(declared);
    const Got got = run_plain(correct_kernel(Dtype::kF32), reference);
    EXPECT_FALSE(compare("kernel", reference, resolve(declared, Dtype::kF32), got).bias.is_judged);
    EXPECT_TRUE(compare("kernel", reference, resolve({}, Dtype::kF32), got).bias.is_judged);
  }
}

}  // namespace
}  // namespace ringproof

#include "reference/judge/bound_probabilistic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "reference/judge/independent.h"
#include "reference/judge/simulated_kernel_test.h"

namespace ringproof {
namespace {

constexpr std::int64_t kTensors = 2;

std::string line_of(const std::string& dtype, const std::string& shape, const std::string& mask, int seed) {
  return "fwd/" + dtype + "/" + shape + "/" + mask + "/scale0.25/gauss:" + std::to_string(seed) + "/bhsd/single";
}

struct Counts {
  std::int64_t elements = 0, outside = 0;
  double used = 0;              // largest error / bound
  double of_deterministic = 1;  // least bound / deterministic bound
};

void count(Counts& counts, const std::vector<double>& got, const WideValues& want, const std::vector<double>& bounds,
           const std::vector<double>& deterministic) {
  for (std::size_t at = 0; at < got.size(); ++at) {
    EXPECT_LE(bounds[at], deterministic[at]);
    if (std::isinf(want.value[at])) continue;
    const double error = std::fabs((got[at] - want.value[at]) - want.tail_at(at));
    ++counts.elements;
    if (!(error <= bounds[at])) ++counts.outside;
    counts.used = std::max(counts.used, error == 0 ? 0 : error / bounds[at]);
    counts.of_deterministic = std::min(counts.of_deterministic, bounds[at] / deterministic[at]);
  }
}

struct Both {
  Counts out, lse;
};

// The kernel does what it declares; the bound is that of the declaration.
void judge(Both& both, const SimulatedKernel& kernel, const Reference& reference) {
  const Bounds deterministic = bound_forward(reference.c, kernel.arithmetic, reference.want);
  const Bounds bounds = bound_probabilistic(reference.c, kernel.arithmetic, reference.want, deterministic, kTensors);
  const SimulatedAnswer got = simulate(kernel, reference);
  count(both.out, got.out, reference.want.out, bounds.out, deterministic.out);
  count(both.lse, got.lse, reference.want.lse, bounds.lse, deterministic.lse);
}

Both judge_all(Arithmetic declared, Dtype storage) {
  Both both;
  int seed = 0;
  for (const char* shape : {"b1.hq2.hkv1.sq12.skv64.dqk16.dv16", "b1.hq1.hkv1.sq8.skv257.dqk16.dv16"}) {
    for (const char* mask : {"full", "causal_bottom_right"}) {
      for (int repeat = 0; repeat < 3; ++repeat) {
        const Reference reference =
            prepare(parse_case(line_of(std::string(to_string(storage)), shape, mask, ++seed)), 1);
        for (const bool base_two : {false, true}) {
          SimulatedKernel kernel{resolve(declared, storage), 16, repeat == 1, base_two};
          judge(both, kernel, reference);
        }
      }
    }
  }
  return both;
}

TEST(ProbabilisticBound, IsNeverExceededByRoundingsToNearest) {
  std::int64_t elements = 0;
  for (const Dtype storage : {Dtype::kBf16, Dtype::kF16, Dtype::kF32, Dtype::kF64}) {
    for (const bool l_sums_cast_p : {false, true}) {
      Arithmetic declared;
      declared.l_sums_cast_p = l_sums_cast_p;
      const Both both = judge_all(declared, storage);
      EXPECT_EQ(both.out.outside, 0) << to_string(storage) << " used " << both.out.used;
      EXPECT_EQ(both.lse.outside, 0) << to_string(storage) << " used " << both.lse.used;
      elements += both.out.elements + both.lse.elements;
      RecordProperty(std::string(to_string(storage)) + "_used", std::to_string(both.out.used));
    }
  }
  EXPECT_GT(elements, 40000);
}

TEST(ProbabilisticBound, HoldsForRoundedScoresPartsAndCoarseExponentials) {
  for (int field = 0; field < 5; ++field) {
    Arithmetic declared;
    if (field == 0) declared.score_dtype = Dtype::kBf16;
    if (field == 1) declared.merges = 3, declared.partial_dtype = Dtype::kBf16;
    if (field == 2) declared.exp_error_relative = 8.8e-5;
    if (field == 3) declared.operand_dtype = Dtype::kF8E4m3;
    if (field == 4) declared.p_is_normalised = true;
    const Both both = judge_all(declared, Dtype::kBf16);
    EXPECT_EQ(both.out.outside, 0) << field << " used " << both.out.used;
    EXPECT_EQ(both.lse.outside, 0) << field << " used " << both.lse.used;
  }
}

// Every rounding as large as it may be and all in one direction: possible, never a draw.
TEST(ProbabilisticBound, IsExceededByRoundingsThatConspire) {
  Reference reference = prepare(parse_case(line_of("fp32", "b1.hq1.hkv1.sq2.skv4096.dqk4.dv2", "full", 3)), 1);
  const TensorView q = reference.inputs.q.view(), k = reference.inputs.k.view(), v = reference.inputs.v.view();
  for (std::int64_t key = 0; key < 4096; ++key) v.store(0, 0, key, 0, std::fabs(v.load(0, 0, key, 0)));
  reference.want = attention_forward(reference.c.problem, q, k, v, 1);
  Both both;
  judge(both, {resolve({}, Dtype::kF32), 64, false, false, true}, reference);
  EXPECT_GT(both.out.outside, 0) << both.out.used;
  EXPECT_GT(both.lse.outside, 0) << both.lse.used;
}

TEST(ProbabilisticBound, IsFarBelowTheDeterministicOneOnLongRows) {
  const Reference reference = prepare(parse_case(line_of("fp32", "b1.hq1.hkv1.sq2.skv4096.dqk16.dv4", "full", 3)), 1);
  const Arithmetic arithmetic = resolve({}, Dtype::kF32);
  const Bounds deterministic = bound_forward(reference.c, arithmetic, reference.want);
  const Bounds bounds = bound_probabilistic(reference.c, arithmetic, reference.want, deterministic, kTensors);
  for (std::size_t at = 0; at < bounds.out.size(); ++at) EXPECT_LT(bounds.out[at], deterministic.out[at] / 4);
  for (std::size_t at = 0; at < bounds.lse.size(); ++at) EXPECT_LT(bounds.lse[at], deterministic.lse[at] / 4);
}

// Scores rounded to bf16 beside P in fp32: the largest error by far.
TEST(ProbabilisticBound, CountsTheRoundingOfScores) {
  Arithmetic declared;
  declared.score_dtype = Dtype::kBf16;
  const Both both = judge_all(declared, Dtype::kF32);
  EXPECT_EQ(both.out.outside, 0) << both.out.used;
  EXPECT_EQ(both.lse.outside, 0) << both.lse.used;
  EXPECT_GT(both.out.used, 0.0625);
}

// By hand: lambda^2 = 2 ln(2 N tensors / 1e-6), and 4096 roundings on the way of a term.
TEST(ProbabilisticBound, CountsTheRoundingsOfSums) {
  const Reference reference = prepare(parse_case(line_of("fp32", "b1.hq1.hkv1.sq2.skv4096.dqk16.dv4", "full", 3)), 1);
  const Arithmetic arithmetic = resolve({}, Dtype::kF32);
  const Bounds deterministic = bound_forward(reference.c, arithmetic, reference.want);
  const Bounds bounds = bound_probabilistic(reference.c, arithmetic, reference.want, deterministic, kTensors);
  const double one_rounding = std::sqrt(4096.0) * 0x1p-24;
  for (std::size_t at = 0; at < bounds.out.size(); ++at) {
    const double lambda = std::sqrt(2 * std::log(2 * 8 * 2 / 1e-6));
    EXPECT_GE(bounds.out[at], lambda * one_rounding * reference.want.statistics.p_abs_v[at]);
  }
  for (const double bound : bounds.lse) EXPECT_GE(bound, std::sqrt(2 * std::log(2 * 2 * 2 / 1e-6)) * one_rounding);
}

TEST(ProbabilisticBound, GrowsWithTheTensorsOfARun) {
  const Reference reference = prepare(parse_case(line_of("bf16", "b1.hq1.hkv1.sq2.skv600.dqk16.dv4", "full", 3)), 1);
  const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
  const Bounds deterministic = bound_forward(reference.c, arithmetic, reference.want);
  const Bounds few = bound_probabilistic(reference.c, arithmetic, reference.want, deterministic, 1);
  const Bounds many = bound_probabilistic(reference.c, arithmetic, reference.want, deterministic, 1000);
  for (std::size_t at = 0; at < few.out.size(); ++at) EXPECT_LT(few.out[at], many.out[at]);
  for (std::size_t at = 0; at < few.lse.size(); ++at) EXPECT_LT(few.lse[at], many.lse[at]);
}

TEST(ProbabilisticBound, KeepsWhatTruncatingAccumulatorsMayLoseWhole) {
  const Reference reference = prepare(parse_case(line_of("bf16", "b1.hq1.hkv1.sq2.skv600.dqk16.dv4", "full", 3)), 1);
  Arithmetic truncating;
  truncating.mma_block = 4, truncating.accumulator_fraction_bits = 13;
  const Arithmetic arithmetic = resolve(truncating, Dtype::kBf16);
  const Bounds deterministic = bound_forward(reference.c, arithmetic, reference.want);
  const Bounds bounds = bound_probabilistic(reference.c, arithmetic, reference.want, deterministic, kTensors);
  for (std::size_t at = 0; at < bounds.lse.size(); ++at) {
    const RowScalars& row = reference.want.statistics.rows[at];
    EXPECT_EQ(random_errors(reference.c.problem, arithmetic, row).sums, 0);
    EXPECT_GE(bounds.lse[at], common_errors(reference.c.problem, arithmetic, row).denominator);
    EXPECT_GT(bounds.lse[at], deterministic.lse[at] / 2);
  }
}

TEST(ProbabilisticBound, TakesNothingForADrawThatMayLeanToOneSide) {
  const Reference reference = prepare(parse_case(line_of("fp32", "b1.hq1.hkv1.sq2.skv60.dqk16.dv4", "full", 3)), 1);
  const RowScalars& row = reference.want.statistics.rows[0];
  Arithmetic declared;
  declared.p_dtype = Dtype::kTf32;
  EXPECT_EQ(random_errors(reference.c.problem, resolve(declared, Dtype::kF32), row).cast, 0);
  EXPECT_GE(common_errors(reference.c.problem, resolve(declared, Dtype::kF32), row).numerator, 0x1p-10);
  declared = {};
  declared.accumulator_dtype = Dtype::kBf16;
  EXPECT_EQ(random_errors(reference.c.problem, resolve(declared, Dtype::kF32), row).sums, 0);
}

}  // namespace
}  // namespace ringproof

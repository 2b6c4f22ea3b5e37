#include "reference/judge/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");
constexpr Dtype kFp16 = Dtype::kF16;

TensorEvidence judged(double want, double got, double bound, Dtype format = Dtype::kF32, double tail = 0) {
  TensorEvidence facts{"out"};
  judge_element(facts, format, {1, 2, 3, 4}, want, tail, got, bound);
  return facts;
}

TEST(OneElement, LiesInsideUpToItsBoundAndNotBeyond) {
  EXPECT_EQ(judged(1, 1.25, 0.25).count_outside, 0);
  EXPECT_EQ(judged(1, 1.25, 0.25).bound_used, 1);
  EXPECT_EQ(judged(1, 0.75, 0.5).bound_used, 0.5);
  EXPECT_EQ(judged(1, 1.25, std::nextafter(0.25, 0.0)).count_outside, 1);
  EXPECT_EQ(judged(1, 1, 0).count_outside, 0);
  EXPECT_EQ(judged(0, -0.0, 0).count_outside, 0);
  const TensorEvidence exact = judged(1, std::nextafter(1.0, 2.0), 0);
  EXPECT_EQ(exact.count_outside, 1);
  EXPECT_EQ(exact.bound_used, kInfinity);
}

TEST(OneElement, IsOutsideWhereAnythingIsNaN) {
  for (const double bound : {0.0, 1.0, kInfinity}) {
    for (const double got : {kNan, -kNan}) {
      EXPECT_EQ(judged(1, got, bound).count_outside, 1) << bound;
      EXPECT_EQ(judged(1, got, bound).bound_used, kInfinity) << bound;
    }
    EXPECT_EQ(judged(kNan, 1, bound).count_outside, 1) << bound;
  }
  EXPECT_EQ(judged(1, 1, kNan).count_outside, 1);
  EXPECT_EQ(judged(1, 2, kNan).count_outside, 1);
  EXPECT_EQ(judged(1, 2, kNan).bound_used, kInfinity);
}

TEST(OneElement, MayOverflowOnlyWhereTheBoundReachesTheRoundingLimit) {
  const double limit = 65504 + 16;  // fp16 rounds to infinity from here
  EXPECT_EQ(judged(limit, kInfinity, 0, kFp16).count_outside, 0);
  EXPECT_EQ(judged(-limit, -kInfinity, 0, kFp16).count_outside, 0);
  EXPECT_EQ(judged(limit, -kInfinity, 0, kFp16).count_outside, 1);
  EXPECT_EQ(judged(65000, kInfinity, limit - 65000, kFp16).count_outside, 0);
  EXPECT_EQ(judged(65000, kInfinity, limit - 65000 - 0.5, kFp16).count_outside, 1);
  EXPECT_EQ(judged(65000, kInfinity, 519, kFp16).bound_used, kInfinity);
  EXPECT_EQ(judged(65000, kInfinity, limit - 65000, Dtype::kF32).count_outside, 1);
}

TEST(OneElement, OfAnEmptyRowsLseIsMinusInfinityAndNothingElse) {
  EXPECT_EQ(judged(-kInfinity, -kInfinity, 0).count_outside, 0);
  EXPECT_EQ(judged(-kInfinity, -kInfinity, 0).bound_used, 0);
  for (const double got : {kInfinity, 0.0, -3e38, kNan}) EXPECT_EQ(judged(-kInfinity, got, 0).count_outside, 1) << got;
  EXPECT_EQ(judged(1, -kInfinity, 5).count_outside, 1);
}

TEST(OneElement, IsHeldToTheTailTheOracleKept) {
  EXPECT_EQ(judged(1, 1, 0, Dtype::kF64, 0x1p-60).count_outside, 1);
  EXPECT_EQ(judged(1, 1, 0x1p-60, Dtype::kF64, 0x1p-60).count_outside, 0);
  EXPECT_EQ(judged(1, 1 + 0x1p-52, 0x1p-52, Dtype::kF64, 0x1p-60).count_outside, 0);
  EXPECT_EQ(judged(1, 1 + 0x1p-52, 0x1p-52, Dtype::kF64, -0x1p-60).count_outside, 1);
}

TEST(ManyElements, KeepTheFirstWorst) {
  TensorEvidence facts{"out"};
  judge_element(facts, Dtype::kF32, {0, 0, 0, 0}, 1, 0, 1, 1);
  EXPECT_EQ(facts.bound_used, 0);
  judge_element(facts, Dtype::kF32, {0, 0, 0, 1}, 2, 0, 2.5, 1);
  judge_element(facts, Dtype::kF32, {0, 0, 0, 2}, 3, 0, 3.5, 1);
  judge_element(facts, Dtype::kF32, {0, 0, 0, 3}, 4, 0, 4.25, 1);
  EXPECT_EQ(facts.worst_index, (std::array<std::int64_t, 4>{0, 0, 0, 1}));
  EXPECT_EQ(facts.want, 2);
  EXPECT_EQ(facts.got, 2.5);
  EXPECT_EQ(facts.error, 0.5);
  EXPECT_EQ(facts.bound, 1);
  judge_element(facts, Dtype::kF32, {0, 0, 1, 0}, 5, 0, kNan, 1);
  judge_element(facts, Dtype::kF32, {0, 0, 1, 1}, 5, 0, 500, 1);
  judge_element(facts, Dtype::kF32, {0, 0, 1, 2}, 5, 0, kNan, 1);
  EXPECT_EQ(facts.worst_index, (std::array<std::int64_t, 4>{0, 0, 1, 0}));
  EXPECT_EQ(facts.bound_used, kInfinity);
  EXPECT_EQ(facts.count, 7);
  EXPECT_EQ(facts.count_outside, 3);
}

Reference reference_of(const std::string& line) { return prepare(parse_case(line), 1); }

// The oracle's own answer, rounded to storage: what a perfect candidate returns.
Got perfect(const Reference& reference) {
  const Problem& p = reference.c.problem;
  Got got{
      CallStatus::kReturned, "", {dtype_of_out(p.dtype), p.shape_out()}, {dtype_of_lse(p.dtype), p.shape_lse()}, true};
  const auto fill = [](const Tensor& to, const WideValues& from) {
    const std::size_t size = size_bytes(to.dtype());
    auto* const bytes = static_cast<std::byte*>(to.view().data);
    for (std::size_t at = 0; at < from.value.size(); ++at) store(bytes + at * size, to.dtype(), from.value[at]);
  };
  fill(got.out, reference.want.out);
  fill(got.lse, reference.want.lse);
  return got;
}

Evidence compared(const Reference& reference, const Got& got, const Arithmetic& declared = {}) {
  return compare("candidate", reference, resolve(declared, reference.c.problem.dtype), got);
}

TEST(Compare, FindsNothingAgainstAPerfectAnswer) {
  for (const char* line : {"fwd/bf16/b2.hq4.hkv2.sq9.skv5.dqk8.dv4/causal_bottom_right/scale0.35/gauss:5/bhsd/zigzag3",
                           "fwd/fp64/b1.hq1.hkv1.sq4.skv4.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single",
                           "fwd/fp16/b1.hq1.hkv1.sq4.skv64.dqk8.dv4/full/scale0.35/exact:5/bhsd/single",
                           "fwd/fp32/b1.hq1.hkv1.sq2.skv0.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single"}) {
    const Reference reference = reference_of(line);
    const Evidence evidence = compared(reference, perfect(reference));
    EXPECT_EQ(evidence.case_line, line);
    ASSERT_EQ(evidence.tensors.size(), 2u);
    for (const TensorEvidence& tensor : evidence.tensors) {
      EXPECT_EQ(tensor.count_outside, 0) << line << " " << tensor.name;
      EXPECT_EQ(tensor.count_not_judged, 0) << line << " " << tensor.name;
      EXPECT_LE(tensor.bound_used, 1) << line << " " << tensor.name;
    }
    EXPECT_EQ(evidence.tensors[0].count, element_count(reference.c.problem.shape_out()));
    EXPECT_EQ(evidence.tensors[1].count, element_count(reference.c.problem.shape_lse()));
    EXPECT_EQ(evidence.by_value.count_outside, 0) << line;
  }
}

TEST(Compare, NamesTheElementThatIsWrong) {
  const Reference reference = reference_of("fwd/bf16/b2.hq4.hkv2.sq9.skv9.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single");
  Got got = perfect(reference);
  got.out.view().store(1, 3, 7, 2, 30);
  got.lse.view().store(0, 2, 5, 0, kNan);
  const Evidence evidence = compared(reference, got);
  EXPECT_EQ(evidence.tensors[0].count_outside, 1);
  EXPECT_EQ(evidence.tensors[0].worst_index, (std::array<std::int64_t, 4>{1, 3, 7, 2}));
  EXPECT_EQ(evidence.tensors[0].got, 30);
  EXPECT_EQ(evidence.tensors[1].count_outside, 1);
  EXPECT_EQ(evidence.tensors[1].worst_index, (std::array<std::int64_t, 4>{0, 2, 5, 0}));
}

TEST(Compare, LeavesLseOutWhereItWasNotAskedFor) {
  const Reference reference = reference_of("fwd/bf16/b1.hq1.hkv1.sq3.skv9.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single");
  Got got = perfect(reference);
  got.has_lse = false;
  EXPECT_EQ(compared(reference, got).tensors.size(), 1u);
  got.status = CallStatus::kFailed;
  EXPECT_TRUE(compared(reference, got).tensors.empty());
}

TEST(Compare, CountsWhatIsNotJudgedAndStillSeesItsNaNs) {
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kBf16;
  const Reference reference =
      reference_of("fwd/bf16/b1.hq1.hkv1.sq2.skv300.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single");
  Got got = perfect(reference);
  got.out.view().store(0, 0, 1, 1, 1e6);  // nothing is promised here
  Evidence evidence = compared(reference, got, declared);
  EXPECT_EQ(evidence.tensors[0].count, 8);
  EXPECT_EQ(evidence.tensors[0].count_not_judged, 8);
  EXPECT_EQ(evidence.tensors[0].count_outside, 0);
  EXPECT_EQ(evidence.tensors[1].count_not_judged, 2);
  got.out.view().store(0, 0, 1, 2, kNan);
  got.lse.view().store(0, 0, 1, 0, kNan);
  evidence = compared(reference, got, declared);
  EXPECT_EQ(evidence.tensors[0].count_outside, 1);
  EXPECT_EQ(evidence.tensors[0].worst_index, (std::array<std::int64_t, 4>{0, 0, 1, 2}));
  EXPECT_EQ(evidence.tensors[0].bound_used, kInfinity);
  EXPECT_EQ(evidence.tensors[1].count_outside, 1);
}

// A bound beyond every visible value promises nothing either.
TEST(Compare, DoesNotJudgeWhereTheBoundExceedsEveryVisibleValue) {
  Arithmetic declared;
  declared.exp_error_relative = 0.9;
  const Reference reference = reference_of("fwd/bf16/b1.hq1.hkv1.sq2.skv9.dqk8.dv4/full/scale0.35/gauss:5/bhsd/single");
  const Evidence evidence = compared(reference, perfect(reference), declared);
  EXPECT_EQ(evidence.tensors[0].count_not_judged, 8);
}

TEST(CompareByValue, AsksRowsOfOneKeyForThatKeysValue) {
  const Reference reference =
      reference_of("fwd/bf16/b1.hq1.hkv1.sq3.skv3.dqk8.dv4/causal_top_left/scale0.35/gauss:5/bhsd/single");
  Got got = perfect(reference);
  EXPECT_EQ(compared(reference, got).by_value.count, 4);
  const double value = got.out.view().load(0, 0, 0, 2);
  got.out.view().store(0, 0, 0, 2, value * (1 + 0x1p-7));
  const Evidence evidence = compared(reference, got);
  EXPECT_EQ(evidence.by_value.count_outside, 1);
  EXPECT_EQ(evidence.by_value.worst_index, (std::array<std::int64_t, 4>{0, 0, 0, 2}));
}

TEST(CompareByValue, AsksEveryRowOfTheRecipeExact) {
  const Reference reference = reference_of("fwd/fp16/b1.hq2.hkv1.sq3.skv9.dqk8.dv4/full/scale0.35/exact:5/bhsd/single");
  Got got = perfect(reference);
  EXPECT_EQ(compared(reference, got).by_value.count, 24);
  got.out.view().store(0, 1, 2, 3, got.out.view().load(0, 1, 2, 3) + 1);
  EXPECT_EQ(compared(reference, got).by_value.count_outside, 1);
}

TEST(CompareByValue, IsAskedOnlyWhereTheArithmeticPromisesIt) {
  const Reference reference =
      reference_of("fwd/bf16/b1.hq1.hkv1.sq3.skv3.dqk8.dv4/causal_top_left/scale0.35/gauss:5/bhsd/single");
  const Problem& problem = reference.c.problem;
  const RowScalars& row = reference.want.statistics.rows[0];
  const auto returns = [&](auto declare, double slack = 0) {
    Arithmetic declared;
    declare(declared);
    return returns_single_key_by_value(problem, resolve(declared, Dtype::kBf16), row, slack);
  };
  EXPECT_TRUE(returns([](Arithmetic&) {}));
  EXPECT_TRUE(returns([](Arithmetic& a) { a.merges = 7; }));
  EXPECT_FALSE(returns([](Arithmetic&) {}, 0x1p-9));
  EXPECT_FALSE(returns([](Arithmetic& a) { a.exp_error_relative = 0x1p-9; }));
  EXPECT_FALSE(returns([](Arithmetic& a) { a.accumulator_dtype = Dtype::kF16; }));
  EXPECT_FALSE(returns([](Arithmetic& a) { a.score_dtype = Dtype::kBf16; }));
  EXPECT_FALSE(returns([](Arithmetic& a) { a.p_scale = 3; }));
  EXPECT_FALSE(returns([](Arithmetic& a) { a.merges = 1, a.partial_dtype = Dtype::kBf16; }));
  RowScalars far = row;
  far.score_max = 20000;
  EXPECT_FALSE(returns_single_key_by_value(problem, resolve({}, Dtype::kBf16), far, 0));
  Problem wide = problem;
  wide.dtype = Dtype::kF32;
  EXPECT_FALSE(returns_single_key_by_value(wide, resolve({}, Dtype::kF32), row, 0));
  Problem sink = problem;
  sink.has_sink = true;
  EXPECT_FALSE(returns_single_key_by_value(sink, resolve({}, Dtype::kBf16), row, 0));
}

TEST(Compare, CountsEmptyRowsOfACandidateThatDoesNotDefineThemAndJudgesTheOthers) {
  // Rows 0 and 1 of 5 see none of 3 keys.
  const Reference reference =
      prepare(parse_case("fwd/fp32/b1.hq1.hkv1.sq5.skv3.dqk4.dv2/causal_bottom_right/scale0.5/gauss:5/bhsd/single"), 1);
  Got got{CallStatus::kReturned, "", {Dtype::kF32, {1, 1, 5, 2}}, {Dtype::kF32, {1, 1, 5, 1}}, true, {}, 0};
  for (std::int64_t row = 0; row < 5; ++row) {
    const bool is_empty = row < 2;
    const auto at = static_cast<std::size_t>(row);
    for (std::int64_t c = 0; c < 2; ++c) {
      got.out.view().store(0, 0, row, c,
                           is_empty ? 0.5 : reference.want.out.value[2 * at + static_cast<std::size_t>(c)]);
    }
    got.lse.view().store(0, 0, row, 0, is_empty ? kInfinity : reference.want.lse.value[at]);
  }
  const Arithmetic arithmetic = resolve({}, Dtype::kF32);
  const Evidence claimed = compare("kernel", reference, arithmetic, got);
  EXPECT_EQ(claimed.tensors[0].count_outside, 4);
  EXPECT_EQ(claimed.tensors[1].count_outside, 2);
  got.empty_rows_defined = false;
  const Evidence unclaimed = compare("kernel", reference, arithmetic, got);
  EXPECT_EQ(unclaimed.tensors[0].count_outside, 0);
  EXPECT_EQ(unclaimed.tensors[0].count, 6);
  EXPECT_EQ(unclaimed.tensors[0].count_undefined, 4);
  EXPECT_EQ(unclaimed.tensors[1].count_outside, 0);
  EXPECT_EQ(unclaimed.tensors[1].count_undefined, 2);
  got.out.view().store(0, 0, 4, 0, 7);
  EXPECT_EQ(compare("kernel", reference, arithmetic, got).tensors[0].count_outside, 1);
}

}  // namespace
}  // namespace ringproof

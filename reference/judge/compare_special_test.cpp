// What the judge says of NaN, infinity, subnormals and overflow, told by a kernel that takes the formula at its word:
// NaN and infinity go where arithmetic takes them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/residual.h"
#include "reference/judge/verify.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");

// The formula in double on what a candidate is given, rounded once.
Got formula(const Reference& reference) {
  const Problem& p = reference.c.problem;
  Got got{
      CallStatus::kReturned, "", {dtype_of_out(p.dtype), p.shape_out()}, {dtype_of_lse(p.dtype), p.shape_lse()}, true};
  const Inputs& in = reference.inputs_asked();
  const TensorView q = in.q.view(), k = in.k.view(), v = in.v.view(), out = got.out.view(), lse = got.lse.view();
  const Visibility visibility(p);
  for (std::int64_t row = 0; row < element_count(p.shape_lse()); ++row) {
    const std::int64_t b = row / p.seqlen_q / p.heads_q, h = row / p.seqlen_q % p.heads_q, i = row % p.seqlen_q;
    const std::int64_t h_kv = h / p.heads_per_group();
    std::vector<double> sum(static_cast<std::size_t>(p.head_dim_v));
    double l = 0;
    for (std::int64_t j = 0; j < p.seqlen_kv; ++j) {
      if (!visibility.sees(i, j)) continue;
      double score = 0;
      for (std::int64_t c = 0; c < p.head_dim_qk; ++c) score += q.load(b, h, i, c) * k.load(b, h_kv, j, c);
      const double weight = std::exp(score * p.softmax_scale);
      l += weight;
      for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
        sum[static_cast<std::size_t>(c)] += weight * v.load(b, h_kv, j, c);
      }
    }
    for (std::int64_t c = 0; c < p.head_dim_v; ++c) out.store(b, h, i, c, sum[static_cast<std::size_t>(c)] / l);
    lse.store(b, h, i, 0, std::log(l));
  }
  return got;
}

Reference special(const std::string& dtype, const std::string& mask = "causal_bottom_right") {
  return prepare(
      parse_case("fwd/" + dtype + "/b1.hq5.hkv5.sq40.skv50.dqk16.dv8/" + mask + "/scale0.25/special:20/bhsd/single"),
      1);
}

CaseVerdict verdict(const Reference& reference, const Got& got) {
  return verify_case(compare("kernel", reference, resolve({}, reference.c.problem.dtype), got));
}

std::vector<std::string> checks(const Reference& reference, const Got& got) {
  return failing_checks(compare("kernel", reference, resolve({}, reference.c.problem.dtype), got));
}

// Head and row of the first row of which `holds` is true.
template <class Holds>
std::array<std::int64_t, 2> first_row(const Reference& reference, const Holds& holds) {
  const Problem& p = reference.c.problem;
  for (std::int64_t row = 0; row < p.heads_q * p.seqlen_q; ++row) {
    if (holds(row)) return {row / p.seqlen_q, row % p.seqlen_q};
  }
  ADD_FAILURE() << "no row of this kind";
  return {0, 0};
}

void fill_row(const Got& got, const std::array<std::int64_t, 2>& row, double value) {
  for (std::int64_t c = 0; c < got.out.shape()[3]; ++c) got.out.view().store(0, row[0], row[1], c, value);
}

const std::vector<std::string> kOut{"bound of out"}, kLse{"bound of lse"};

TEST(ASpecialCase, IsAcceptedWhereArithmeticTakesItsCourseAndEveryElementIsJudgedOrUnspecified) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    for (const char* mask : {"full", "causal_bottom_right", "window(7,2)"}) {
      const Reference reference = special(dtype, mask);
      const Got got = formula(reference);
      const Evidence evidence = compare("kernel", reference, resolve({}, reference.c.problem.dtype), got);
      const CaseVerdict said = verify_case(evidence);
      EXPECT_EQ(said.outcome, Outcome::kAccepted) << dtype << " " << mask << ": " << said.reason;
      for (const TensorEvidence& tensor : evidence.tensors) {
        EXPECT_EQ(tensor.count_not_judged, 0) << dtype << " " << mask << " " << tensor.name;
        EXPECT_GT(tensor.count_undefined, 0) << dtype << " " << mask << " " << tensor.name;
        EXPECT_GT(tensor.count, tensor.count_undefined) << dtype << " " << mask << " " << tensor.name;
      }
      EXPECT_FALSE(evidence.is_independent);
    }
  }
}

TEST(ARowThatSeesNan, IsNanThroughoutAndItsLseNanOrInfinite) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = special(dtype);
    const Got got = formula(reference);
    const auto row = first_row(reference, [&](std::int64_t at) { return reference.special.is_nan(at); });
    const TensorView out = got.out.view(), lse = got.lse.view();
    for (const double lse_of_row : {kInfinity, kNan}) {
      lse.store(0, row[0], row[1], 0, lse_of_row);
      EXPECT_EQ(verdict(reference, got).outcome, Outcome::kAccepted) << dtype << " " << lse_of_row;
    }
    for (const double lse_of_row : {-kInfinity, 0.0, 1.5}) {
      lse.store(0, row[0], row[1], 0, lse_of_row);
      EXPECT_EQ(checks(reference, got), kLse) << dtype << " " << lse_of_row;
    }
    lse.store(0, row[0], row[1], 0, kNan);
    for (const double element : {0.0, 0.25, kInfinity, -kInfinity}) {
      out.store(0, row[0], row[1], 3, element);
      EXPECT_EQ(checks(reference, got), kOut) << dtype << " " << element;
    }
  }
}

TEST(AColumnThatSeesNan, IsNanAndTheRestOfItsRowIsJudgedAsEver) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = special(dtype);
    std::int64_t column = 0;
    const auto row = first_row(reference, [&](std::int64_t at) {
      for (column = 0; column < 8; ++column) {
        if (!reference.special.is_nan(at) && reference.special.is_nan(at, column)) return true;
      }
      return false;
    });
    const Got right = formula(reference);
    EXPECT_TRUE(std::isnan(right.out.view().load(0, row[0], row[1], column)));
    for (std::int64_t c = 0; c < 8; ++c) {
      const Got got = right;
      got.out.view().store(0, row[0], row[1], c, c == column ? 0.0 : kNan);
      EXPECT_EQ(checks(reference, got), kOut) << dtype << " column " << c;
    }
    const Got got = right;
    got.lse.view().store(0, row[0], row[1], 0, kNan);
    EXPECT_EQ(checks(reference, got), kLse) << dtype;
  }
}

TEST(ARowThatSeesInfinity, IsNotJudged) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = special(dtype);
    const auto row = first_row(reference, [&](std::int64_t at) { return reference.special.is_unspecified(at); });
    for (const double value : {kInfinity, -kInfinity, kNan, 0.0, 3.5}) {
      const Got got = formula(reference);
      fill_row(got, row, value);
      got.lse.view().store(0, row[0], row[1], 0, value);
      EXPECT_EQ(verdict(reference, got).outcome, Outcome::kAccepted) << dtype << " " << value;
    }
  }
}

TEST(ARowBesideANan, IsJudgedWhereTheCandidateClaimsToBearIt) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = special(dtype);
    const auto row = first_row(reference, [&](std::int64_t at) {
      const SpecialRows& rows = reference.special;
      return rows.lies_beside(at) && !rows.is_nan(at, 4) && !rows.is_unspecified(at);
    });
    Got got = formula(reference);
    got.out.view().store(0, row[0], row[1], 4, kNan);
    EXPECT_EQ(checks(reference, got), kOut) << dtype;
    got.bears_hidden_nan = false;
    EXPECT_EQ(verdict(reference, got).outcome, Outcome::kAccepted) << dtype;
  }
}

TEST(AnOrdinaryRowOfASpecialCase, IsJudgedAsEver) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = special(dtype);
    const auto row = first_row(reference, [&](std::int64_t at) { return !reference.special.is_special(at); });
    for (const double value : {kNan, kInfinity, -kInfinity, 1e-3}) {
      const Got got = formula(reference);
      fill_row(got, row, value);
      EXPECT_EQ(checks(reference, got), kOut) << dtype << " " << value;
    }
  }
}

// An ordinary Case with other values, and the oracle's answer to them.
Reference with_values(const std::string& line, double (*value)(std::int64_t key, std::int64_t column)) {
  Reference reference = prepare(parse_case(line), 1);
  const TensorView v = reference.inputs.v.view();
  for (std::int64_t h = 0; h < v.shape[1]; ++h) {
    for (std::int64_t j = 0; j < v.shape[2]; ++j) {
      for (std::int64_t c = 0; c < v.shape[3]; ++c) v.store(0, h, j, c, value(j, c));
    }
  }
  reference.want = attention_forward(reference.c.problem, reference.inputs.q.view(), reference.inputs.k.view(), v, 1);
  return reference;
}

TEST(ValuesBelowTheNormalRange, AreJudgedToWhatFlushingMayLose) {
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const char* lengths : {"sq3.skv4", "sq3.skv300"}) {
      const Reference reference =
          with_values(std::string("fwd/") + dtype + "/b1.hq1.hkv1." + lengths +
                          ".dqk8.dv4/full/scale0.35355338/gauss:1/bhsd/single",
                      [](std::int64_t key, std::int64_t column) {
                        return std::ldexp(key % 2 ? -1.0 : 1.5, -127 - static_cast<int>(column));
                      });
      const Got right = formula(reference);
      const Evidence evidence = compare("kernel", reference, resolve({}, reference.c.problem.dtype), right);
      EXPECT_EQ(evidence.tensors.front().count_not_judged, 0) << dtype << " " << lengths;
      EXPECT_EQ(verify_case(evidence).outcome, Outcome::kAccepted) << dtype << " " << lengths;
      const Got flushed = right, wrong = right;
      fill_row(flushed, {0, 1}, 0);
      EXPECT_EQ(verdict(reference, flushed).outcome, Outcome::kAccepted) << dtype << " " << lengths;
      for (const double value : {1e-3, -1e-3, 1e-30, kNan}) {
        fill_row(wrong, {0, 1}, value);
        ASSERT_FALSE(checks(reference, wrong).empty()) << dtype << " " << lengths << " " << value;
        EXPECT_EQ(checks(reference, wrong).front(), kOut.front()) << dtype << " " << lengths << " " << value;
      }
    }
  }
}

TEST(ValuesBelowTheNormalRange, AreNotJudgedUnderADeclarationThatLosesMore) {
  const Reference reference =
      with_values("fwd/fp32/b1.hq1.hkv1.sq3.skv30.dqk8.dv4/full/scale0.35355338/gauss:1/bhsd/single",
                  [](std::int64_t key, std::int64_t) { return std::ldexp(key % 2 ? -1.0 : 1.5, -127); });
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kF16;
  const Evidence evidence = compare("kernel", reference, resolve(declared, Dtype::kF32), formula(reference));
  EXPECT_EQ(evidence.tensors.front().count_not_judged, evidence.tensors.front().count);
  EXPECT_EQ(verify_case(evidence).outcome, Outcome::kInconclusive);
}

TEST(AnAnswerNearTheLargestNumber, MayBeInfiniteOfTheRightSignAlone) {
  const double largest = format_facts(Dtype::kF16).finite_max;
  const Reference reference = with_values("fwd/fp16/b1.hq1.hkv1.sq5.skv33.dqk16.dv4/full/scale0.25/gauss:2/bhsd/single",
                                          [](std::int64_t, std::int64_t c) {
                                            return c == 0 ? 65504.0 : c == 1 ? -65504.0 : c == 2 ? 60000.0 : 1.0;
                                          });
  const Got right = formula(reference);
  const TensorView out = right.out.view();
  EXPECT_EQ(out.load(0, 0, 2, 0), largest);
  EXPECT_EQ(verdict(reference, right).outcome, Outcome::kAccepted);
  for (std::int64_t column = 0; column < 4; ++column) {
    for (const double infinity : {kInfinity, -kInfinity}) {
      const Got got = right;
      got.out.view().store(0, 0, 2, column, infinity);
      const bool is_right = (column == 0 && infinity > 0) || (column == 1 && infinity < 0);
      EXPECT_EQ(verdict(reference, got).outcome, is_right ? Outcome::kAccepted : Outcome::kRejected)
          << column << " " << infinity;
    }
  }
}

}  // namespace
}  // namespace ringproof

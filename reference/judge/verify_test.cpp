#include "reference/judge/verify.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TensorEvidence tensor(const std::string& name, double bound_used = 0.25) {
  TensorEvidence facts{name, 100};
  facts.bound_used = bound_used;
  return facts;
}

Evidence evidence(CallStatus status = CallStatus::kReturned, const std::string& reason = "") {
  return {"kernel",
          "a Case",
          Dtype::kF32,
          MaskKind::kFull,
          64,
          status,
          reason,
          {},
          {tensor("out"), tensor("lse")},
          tensor("out by value", 0),
          2,
          3};
}

Evidence on_data(Evidence one, const std::string& data) {
  one.data = data;
  return one;
}

void expect_verdict(const Evidence& one, Outcome outcome, const std::string& reason) {
  const CaseVerdict verdict = verify_case(one);
  EXPECT_EQ(verdict.case_line, "a Case");
  EXPECT_EQ(to_string(verdict.outcome), std::string(to_string(outcome)));
  EXPECT_EQ(verdict.reason, reason);
}

TEST(Outcomes, RiseInSeverity) {
  EXPECT_EQ(worst(Outcome::kAccepted, Outcome::kUnsupported), Outcome::kUnsupported);
  EXPECT_EQ(worst(Outcome::kInconclusive, Outcome::kUnsupported), Outcome::kInconclusive);
  EXPECT_EQ(worst(Outcome::kInconclusive, Outcome::kRejected), Outcome::kRejected);
  EXPECT_STREQ(to_string(Outcome::kAccepted), "accepted");
  EXPECT_STREQ(to_string(Outcome::kUnsupported), "unsupported");
  EXPECT_STREQ(to_string(Outcome::kInconclusive), "inconclusive");
  EXPECT_STREQ(to_string(Outcome::kRejected), "rejected");
}

TEST(FailingReason, IsTheSameWhateverTheNumbersSay) {
  const auto reason = [](const std::string& structure, const std::string& property) {
    Evidence one = evidence();
    if (!structure.empty()) one.structure_faults = {structure};
    if (!property.empty()) one.property_faults = {property};
    return failing_reason(one);
  };
  const std::string unwritten = "64 elements of out were never written, the first (0, 0, 3, 0)";
  const std::string modified = "the input q or memory beside it was modified (4 bytes) on rank 1";
  EXPECT_EQ(reason("", ""), "");
  EXPECT_EQ(reason(unwritten, ""), "structure: elements of out were never written");
  EXPECT_EQ(reason(unwritten, ""),
            reason("1 elements of out were never written, the first (0, 0, 0, 0) on rank 2", ""));
  EXPECT_EQ(reason(modified, ""), "structure: the input q or memory beside it was modified");
  EXPECT_NE(reason(modified, ""), reason("the input k or memory beside it was modified (4 bytes)", ""));
  EXPECT_EQ(reason("", "values enter linearly: off by 3"), "property: values enter linearly");
  Evidence outside = evidence();
  outside.tensors.front().count_outside = 3;
  EXPECT_EQ(failing_reason(outside), "bound of out");
  outside.structure_faults = {unwritten};
  EXPECT_EQ(failing_reason(outside), "structure: elements of out were never written");
}

TEST(Verdict, OfCasesWithoutAnElementIsInconclusive) {
  Evidence empty = evidence();
  for (TensorEvidence& facts : empty.tensors) facts.count = 0;
  EXPECT_EQ(verify_case(empty).outcome, Outcome::kAccepted);
  EXPECT_EQ(verify(std::vector{empty}, "").outcome, Outcome::kInconclusive);
  EXPECT_EQ(verify(std::vector{empty, evidence()}, "").outcome, Outcome::kAccepted);
  EXPECT_EQ(verify(std::vector{empty, evidence()}, "").count_elements, 200);
}

TEST(Shares, NeverReadAsOneUnlessTheyAre) {
  EXPECT_EQ(share_text(1), "1");
  EXPECT_EQ(share_text(0.5), "0.5");
  EXPECT_EQ(share_text(0.9994), "0.999");
  EXPECT_EQ(share_text(0.9996), "0.9996");
  EXPECT_EQ(share_text(1.0004), "1.0004");
  EXPECT_EQ(share_text(1.25), "1.25");
  EXPECT_EQ(share_text(1 + 0x1p-52), "1.00001");
  EXPECT_EQ(share_text(1 - 0x1p-53), "0.999999");
  EXPECT_EQ(share_text(kInfinity), "inf");
}

TEST(FailingChecks, AreAllThatRejectInTheOrderOfTheDesign) {
  Evidence one = evidence();
  std::vector<std::string> checks;
  const auto add = [&](const std::string& check) {
    checks.insert(checks.begin(), check);
    EXPECT_EQ(failing_checks(one), checks);
    EXPECT_EQ(failing_check(one), check);
    EXPECT_EQ(verify_case(one).outcome, Outcome::kRejected);
  };
  EXPECT_EQ(failing_check(one), "");
  one.property_faults = {"a row leaves the values it sees", "a constant is not returned"};
  add("property");
  one.determinism_faults.emplace_back("the second call differs");
  add("determinism");
  one.bias = {true, {200, -54, 20000, 20, -5000, 2100000}, 1e-4};
  add("bias of out");
  one.noise = {true, {400, 800, 1600}};
  add("noise figure of out");
  one.is_independent = true;
  one.probabilistic = {tensor("out"), tensor("lse")};
  one.probabilistic[1].count_outside = 1;
  add("probabilistic bound of lse");
  one.probabilistic[0].count_outside = 1;
  add("probabilistic bound of out");
  one.tensors[1].count_outside = 1;
  add("bound of lse");
  one.tensors[0].count_outside = 1;
  add("bound of out");
  one.by_value.count_outside = 1;
  add("out by value");
  one.structure_faults.emplace_back("an input was modified");
  add("structure");
  one.status = CallStatus::kFailed;  // only what the call before it wrote late stands
  EXPECT_EQ(failing_checks(one), std::vector<std::string>{"structure"});
  one.structure_faults.clear();
  EXPECT_EQ(failing_checks(one), std::vector<std::string>{});
  EXPECT_EQ(failing_check(one), "");
}

TEST(CaseVerdict, SaysWhyEveryCheckRejects) {
  Evidence one = evidence();
  one.property_faults = {"a row leaves the values it sees", "a constant is not returned"};
  one.determinism_faults = {"the second call differs"};
  expect_verdict(one, Outcome::kRejected,
                 "the second call differs; a row leaves the values it sees; a constant is not returned");
}

TEST(CaseVerdict, IsNotChangedByStatisticsThatAreOnlyShown) {
  Evidence one = evidence();
  one.probabilistic = {tensor("out"), tensor("lse")};
  one.probabilistic[0].count_outside = 1;
  one.noise = {false, {400, 800, 1600}};
  one.bias = {false, {200, -54, 20000, 20, -5000, 2100000}, 1e-4};
  expect_verdict(one, Outcome::kAccepted, "");
  EXPECT_EQ(verify(std::vector{one, one}, "").reason, "");
  EXPECT_EQ(verify(std::vector{one, one}, "").noise.rows, 0);
}

TEST(CaseVerdict, SaysHowStatisticsReject) {
  Evidence one = evidence();
  one.noise = {true, {400, 800, 1600}};
  expect_verdict(
      one, Outcome::kRejected,
      "the noise figure of out is 1.41 over 400 rows of all heads, beyond 1.05 by more than four standard errors");
  one.noise = {};
  one.bias = {true, {200, -54, 20000, 20, -5000, 2100000}, 1e-4};
  expect_verdict(one, Outcome::kRejected,
                 "out is 0.27 % too small over 200 rows: bias -0.0027 with standard error 0.00014, beyond 0.0001 by "
                 "more than five of them");
}

TEST(Verdict, PoolsRowsOfCasesThatAreTooShortAlone) {
  Evidence one = evidence();
  one.noise = {true, {150, 300, 600}};
  one.bias = {true, {100, -27, 10000, 10, -2500, 1050000}, 1e-4};
  EXPECT_EQ(verify_case(one).outcome, Outcome::kAccepted);
  const Verdict verdict = verify(std::vector{on_data(one, "gauss:1"), on_data(one, "gauss:2")}, "");
  EXPECT_EQ(verdict.outcome, Outcome::kRejected);
  EXPECT_EQ(verdict.failing_checks, (std::vector<std::string>{"pooled noise figure of out", "pooled bias of out"}));
  EXPECT_EQ(verdict.reason.rfind("the noise figure of out is 1.41 over 300 rows of all Cases", 0), 0u)
      << verdict.reason;
  EXPECT_EQ(verdict.count_rejected, 0);
  EXPECT_EQ(verify(std::vector{one}, "").outcome, Outcome::kAccepted);
}

// Another memory, topology or mask, or the same call again: the same draws, which prove nothing twice.
TEST(Verdict, PoolsEachDataOnce) {
  Evidence one = evidence();
  one.noise = {true, {150, 300, 600}};
  one.bias = {true, {100, -27, 10000, 10, -2500, 1050000}, 1e-4};
  const Verdict verdict = verify(std::vector{one, one, one}, "");
  EXPECT_EQ(verdict.outcome, Outcome::kAccepted);
  EXPECT_EQ(verdict.noise.rows, 150);
  EXPECT_EQ(verdict.bias.rows, 100);
  Evidence longer = one, not_judged = one;
  longer.noise.all_heads.rows = 160;
  not_judged.noise = {false, {500, 1000, 2000}};
  const Verdict of_longest = verify(std::vector{one, longer, not_judged}, "");
  EXPECT_EQ(of_longest.noise.rows, 160);
  EXPECT_EQ(of_longest.bias.rows, 100);
}

TEST(CaseVerdict, IsNotChangedByWarningsAndAttribution) {
  Evidence one = evidence();
  one.warnings = {"the recipe is not independent"};
  one.attribution = "residual concentrates on key 3";
  expect_verdict(one, Outcome::kAccepted, "");
}

TEST(CaseVerdict, FollowsTheCall) {
  expect_verdict(evidence(), Outcome::kAccepted, "");
  expect_verdict(evidence(CallStatus::kUnsupported, "mask window"), Outcome::kUnsupported, "mask window");
  expect_verdict(evidence(CallStatus::kRefused, "refused"), Outcome::kUnsupported, "refused");
  expect_verdict(evidence(CallStatus::kFailed, "the device is gone"), Outcome::kInconclusive, "the device is gone");
}

TEST(CaseVerdict, IsRejectedForALateWriteThatACallWithoutAnAnswerFound) {
  for (const CallStatus status : {CallStatus::kRefused, CallStatus::kFailed}) {
    Evidence one = evidence(status, "no");
    one.tensors.clear();
    one.structure_faults = {"the call before wrote late"};
    expect_verdict(one, Outcome::kRejected, "the call before wrote late");
    EXPECT_EQ(failing_checks(one), std::vector<std::string>{"structure"});
  }
}

TEST(CaseVerdict, NamesFaultsOfStructureBeforeAnythingElse) {
  Evidence one = evidence();
  one.structure_faults = {"out was not written", "q was modified"};
  expect_verdict(one, Outcome::kRejected, "out was not written; q was modified");
  one.tensors[0].count_outside = 3;
  const std::string reason = verify_case(one).reason;
  EXPECT_EQ(reason.rfind("out was not written; q was modified; 3 of 100 elements of out lie outside", 0), 0u) << reason;
}

TEST(CaseVerdict, RejectsElementsOutsideWithTheWorstOfThem) {
  Evidence one = evidence();
  TensorEvidence& out = one.tensors[0];
  out.count_outside = 3, out.worst_index = {0, 1, 2, 3};
  out.want = 0.5, out.got = 0.75, out.error = 0.25, out.bound = 0.125, out.bound_used = 2;
  expect_verdict(
      one, Outcome::kRejected,
      "3 of 100 elements of out lie outside their bound; the worst (batch 0, head 1, row 2, column 3): want 0.5, "
      "got 0.75, error 0.25, bound 0.125, bound used 2");
  one.by_value.count_outside = 1;
  const std::string both = verify_case(one).reason;
  EXPECT_EQ(both.rfind("1 of 100 elements of out by value lie outside", 0), 0u) << both;
  EXPECT_NE(both.find("; 3 of 100 elements of out lie outside"), std::string::npos) << both;
  Evidence by_lse = evidence();
  by_lse.tensors[1].count_outside = 1;
  EXPECT_EQ(verify_case(by_lse).outcome, Outcome::kRejected);
  Evidence by_value = evidence();
  by_value.by_value.count_outside = 1;
  EXPECT_EQ(verify_case(by_value).outcome, Outcome::kRejected);
}

TEST(CaseVerdict, IsInconclusiveWhereMoreThanOneInAHundredIsNotJudged) {
  Evidence one = evidence();
  one.tensors[1].count_not_judged = 1;
  expect_verdict(one, Outcome::kAccepted, "");
  one.tensors[1].count_not_judged = 2;
  expect_verdict(one, Outcome::kInconclusive,
                 "2 of 100 elements of lse cannot be judged: the declared Arithmetic promises too little there");
  one.tensors[0].count_outside = 1;
  EXPECT_EQ(verify_case(one).outcome, Outcome::kRejected);
}

TEST(CaseVerdict, IsInconclusiveForWhatWasLeftOpenUnlessSomethingRejects) {
  Evidence one = evidence();
  one.left_open = {"its power could not be measured: no memory", "a constant V is returned: no luck"};
  expect_verdict(one, Outcome::kInconclusive,
                 "its power could not be measured: no memory; a constant V is returned: no luck");
  one.tensors[0].count_outside = 1;
  EXPECT_EQ(verify_case(one).outcome, Outcome::kRejected);
}

TEST(CaseVerdict, OfElementsThatMayBeAnythingIsNotAccepted) {
  Evidence one = evidence();
  for (TensorEvidence& facts : one.tensors) facts.count = 0, facts.count_undefined = 100;
  expect_verdict(one, Outcome::kUnsupported,
                 "no element of its answer is defined: its rows see no key, NaN or infinity");
  const Verdict verdict = verify(std::vector{one, evidence()}, "");
  EXPECT_EQ(verdict.count_accepted, 1);
  EXPECT_EQ(verdict.count_unsupported, 1);
  EXPECT_EQ(verify(std::vector{one}, "").outcome, Outcome::kInconclusive);
  one.tensors[1].count = 1;
  expect_verdict(one, Outcome::kAccepted, "");
  one.tensors[1].count = 0;
  one.structure_faults = {"out was not written"};
  EXPECT_EQ(verify_case(one).outcome, Outcome::kRejected);
}

TEST(Verdict, IsTheWorstOfItsJudgedCasesWithTheirCounts) {
  Evidence rejected = evidence(), inconclusive = evidence(CallStatus::kFailed, "x");
  rejected.tensors[0].count_outside = 1;
  rejected.tensors[0].bound_used = kInfinity;
  const std::vector<Evidence> all{evidence(),   evidence(CallStatus::kUnsupported, "bf16"), rejected,
                                  inconclusive, evidence(CallStatus::kRefused, "no"),       evidence()};
  const Verdict verdict = verify(all, "reference contract");
  EXPECT_EQ(verdict.candidate, "kernel");
  EXPECT_EQ(verdict.outcome, Outcome::kRejected);
  EXPECT_EQ(verdict.contract, "reference contract");
  EXPECT_EQ(verdict.count_cases, 6);
  EXPECT_EQ(verdict.count_accepted, 2);
  EXPECT_EQ(verdict.count_rejected, 1);
  EXPECT_EQ(verdict.count_inconclusive, 1);
  EXPECT_EQ(verdict.count_unsupported, 1);
  EXPECT_EQ(verdict.count_refused, 1);
  EXPECT_EQ(verdict.bound_used, kInfinity);
  EXPECT_EQ(verdict.time_ms, 12);
  EXPECT_EQ(verdict.cases.size(), 6u);
  EXPECT_EQ(verdict.cases[2].outcome, Outcome::kRejected);
}

TEST(Verdict, IgnoresUnsupportedCasesWhereOthersWereJudged) {
  const std::vector<Evidence> accepted{evidence(), evidence(CallStatus::kUnsupported, "bf16")};
  EXPECT_EQ(verify(accepted, "").outcome, Outcome::kAccepted);
  EXPECT_EQ(verify(accepted, "").bound_used, 0.25);
  const std::vector<Evidence> failed{evidence(), evidence(CallStatus::kFailed, "x")};
  EXPECT_EQ(verify(failed, "").outcome, Outcome::kInconclusive);
}

TEST(Verdict, IsInconclusiveWhereNothingWasJudged) {
  EXPECT_EQ(verify({}, "").outcome, Outcome::kInconclusive);
  EXPECT_EQ(verify({}, "").scope, "nothing judged");
  const std::vector<Evidence> unsupported{evidence(CallStatus::kUnsupported, "bf16"),
                                          evidence(CallStatus::kRefused, "no")};
  EXPECT_EQ(verify(unsupported, "").outcome, Outcome::kInconclusive);
  EXPECT_EQ(verify(unsupported, "").scope, "nothing judged");
}

TEST(Verdict, SpeaksOfWhatWasReallyJudged) {
  Evidence bf16 = evidence(), causal = evidence(), unasked = evidence(CallStatus::kUnsupported, "x");
  bf16.dtype = Dtype::kBf16, bf16.head_dim_max = 128;
  causal.mask = MaskKind::kCausalTopLeft;
  unasked.mask = MaskKind::kWindow, unasked.dtype = Dtype::kF16, unasked.head_dim_max = 256;
  const std::vector<Evidence> all{bf16, causal, unasked};
  EXPECT_EQ(verify(all, "").scope, "fp32 bf16 full causal_top_left, d <= 128");
}

TEST(Contract, IsTheReferenceOneOnlyWithoutAnyDeparture) {
  Description description;
  description.features = kNanSafeUnseen | kNanSafeHidden | kEmptyRowsDefined | kWritesLse;
  EXPECT_EQ(contract_of(description, Dtype::kBf16), "reference contract");
  Description sloppy = description;
  sloppy.arithmetic.l_sums_cast_p = true;
  sloppy.arithmetic.exp_error_relative = 8.8e-5;
  EXPECT_EQ(contract_of(sloppy, Dtype::kBf16), "as declared: l sums the cast P, exp 8.8e-05");
  for (const auto& [feature, words] :
       {std::pair{kNanSafeUnseen, "NaN in unseen slots may leak"},
        std::pair{kNanSafeHidden, "NaN in hidden slots may leak"}, std::pair{kEmptyRowsDefined, "empty rows undefined"},
        std::pair{kWritesLse, "no lse"}}) {
    Description lacking = description;
    lacking.features &= ~static_cast<std::uint32_t>(feature);
    EXPECT_EQ(contract_of(lacking, Dtype::kBf16), std::string("as declared: ") + words);
  }
}

}  // namespace
}  // namespace ringproof

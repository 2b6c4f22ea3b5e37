#include "reference/judge/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "reference/judge/called_body_test.h"
#include "reference/judge/verify.h"
#include "reference/oracle/attention_forward.h"

namespace ringproof {
namespace {

Reference prepared(const std::string& shape, const std::string& recipe = "gauss:5") {
  return prepare(parse_case("fwd/fp32/" + shape + "/full/scale0.35/" + recipe + "/bhsd/single"), 1);
}

// Correct, but for what `spoil` does to `out` at the given call (from 1 on).
Candidate correct_but(const std::function<void(int call, const TensorView& out)>& spoil, std::uint32_t features) {
  Description description = everything();
  description.features &= ~static_cast<std::uint32_t>(kForwardDeterministic | kBatchInvariant | kLseLeavesSinkOut);
  description.features |= features;
  const auto calls = std::make_shared<int>(0);
  return candidate_of(
      [calls, spoil](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                     const TensorView& out, const TensorView* lse) {
        const ForwardAnswer answer = attention_forward(problem, q, k, v, 1);
        std::size_t at = 0, row = 0;
        for_each_element(out, [&](auto b, auto h, auto s, auto d) { out.store(b, h, s, d, answer.out.value[at++]); });
        if (lse) {
          for_each_element(*lse,
                           [&](auto b, auto h, auto s, auto) { lse->store(b, h, s, 0, answer.lse.value[row++]); });
        }
        spoil(++*calls, out);
      },
      description);
}

void nudge(const TensorView& out) {
  const auto value = static_cast<float>(out.load(0, 1, 2, 3));
  out.store(0, 1, 2, 3, std::nextafter(value, 2.0f));
}

TEST(Session, RejectsAClaimOfDeterminismThatOneBitBreaks) {
  const Reference one = prepared("b1.hq4.hkv2.sq6.skv9.dqk8.dv4"), other = prepared("b1.hq2.hkv2.sq3.skv5.dqk8.dv8");
  for (const std::uint32_t claim : {0u, static_cast<std::uint32_t>(kForwardDeterministic)}) {
    Session session(correct_but(
        [](int call, const TensorView& out) {
          if (call == 3) nudge(out);
        },
        claim));
    EXPECT_EQ(verify_case(session.judge(one)).outcome, Outcome::kAccepted);
    EXPECT_EQ(verify_case(session.judge(other)).outcome, Outcome::kAccepted);
    const Evidence again = session.judge(one);
    EXPECT_EQ(verify_case(again).outcome, claim != 0 ? Outcome::kRejected : Outcome::kAccepted);
    EXPECT_EQ(failing_check(again), claim != 0 ? "determinism" : "");
    const std::vector<std::string>& said = claim != 0 ? again.determinism_faults : again.warnings;
    ASSERT_EQ(said.size(), 1u);
    EXPECT_NE(said[0].find("call 3 does not repeat the bits of call 1"), std::string::npos) << said[0];
    EXPECT_NE(said[0].find("1 elements differ, the first out (batch 0, head 1, row 2, column 3)"), std::string::npos);
  }
}

TEST(Session, FindsNothingInACandidateThatRepeatsItself) {
  const Reference one = prepared("b3.hq4.hkv2.sq6.skv9.dqk8.dv4"), other = prepared("b1.hq2.hkv2.sq3.skv5.dqk8.dv8");
  Session session(correct_but([](int, const TensorView&) {}, kForwardDeterministic | kBatchInvariant));
  for (int round = 0; round < 4; ++round) {
    for (const Reference* reference : {&one, &other}) {
      const Evidence evidence = session.judge(*reference);
      EXPECT_EQ(verify_case(evidence).outcome, Outcome::kAccepted);
      EXPECT_TRUE(evidence.warnings.empty()) << testing::PrintToString(evidence.warnings);
    }
  }
  EXPECT_FALSE(session.end());
}

TEST(Session, RejectsAClaimOfBatchInvarianceWhoseBitsDependOnTheBatch) {
  const Reference batch = prepared("b2.hq4.hkv2.sq6.skv9.dqk8.dv4");
  const auto spoil = [](int, const TensorView& out) {
    if (out.shape[0] == 2) nudge(out);
  };
  Session claims(correct_but(spoil, kBatchInvariant)), claims_nothing(correct_but(spoil, 0));
  const Evidence evidence = claims.judge(batch);
  EXPECT_EQ(failing_check(evidence), "determinism");
  EXPECT_NE(evidence.determinism_faults.at(0).find("batch element 0 has other bits"), std::string::npos);
  EXPECT_EQ(verify_case(claims_nothing.judge(batch)).outcome, Outcome::kAccepted);
}

TEST(Session, HoldsABatchElementAloneWithTheSinksOfItsHeads) {
  const Reference two =
      prepare(parse_case("fwd/fp32/b2.hq4.hkv2.sq6.skv9.dqk8.dv4/full/scale0.35,sink/gauss:5/bhsd/single"), 1);
  for (const bool spoils : {false, true}) {
    Session session(correct_but(
        [&](int, const TensorView& out) {
          if (spoils && out.shape[0] == 1) nudge(out);
        },
        kBatchInvariant));
    const Evidence evidence = session.judge(two);
    EXPECT_EQ(failing_check(evidence), spoils ? "determinism" : "");
    EXPECT_EQ(verify_case(evidence).outcome, spoils ? Outcome::kRejected : Outcome::kAccepted);
  }
}

TEST(Session, WithholdsLseNowAndThenButNotWhereItIsThePoint) {
  const Reference gauss = prepared("b1.hq1.hkv1.sq3.skv5.dqk8.dv8"),
                  walsh = prepared("b1.hq1.hkv1.sq3.skv5.dqk8.dv8", "walsh_probe:5");
  Session of_gauss(correct_but([](int, const TensorView&) {}, 0)),
      of_walsh(correct_but([](int, const TensorView&) {}, 0));
  int withheld = 0;
  for (int call = 0; call < 14; ++call) {
    const Evidence evidence = of_gauss.judge(gauss);
    withheld += evidence.lse_withheld;
    EXPECT_EQ(evidence.tensors.size(), evidence.lse_withheld ? 1u : 2u);
    EXPECT_EQ(verify_case(evidence).outcome, Outcome::kAccepted);
    EXPECT_FALSE(of_walsh.judge(walsh).lse_withheld);
  }
  EXPECT_EQ(withheld, 2);
}

// Exact, and declared so loosely that nobody could tell: not accepted.
TEST(Session, LeavesUndecidedWhatItsDeclarationHides) {
  const Reference reference = prepared("b1.hq1.hkv1.sq6.skv40.dqk8.dv4");
  for (const double exp_error : {0.0, 0.05}) {
    Candidate loose = correct_but([](int, const TensorView&) {}, 0);
    loose.describe = [whole = loose.describe, exp_error](Dtype dtype, Direction direction) {
      Description description = whole(dtype, direction);
      description.arithmetic.exp_error_relative = exp_error;
      return description;
    };
    const CaseVerdict verdict = verify_case(Session(loose).judge(reference));
    EXPECT_EQ(verdict.outcome, exp_error == 0 ? Outcome::kAccepted : Outcome::kInconclusive);
    EXPECT_EQ(verdict.reason.find("exp 0.05") != std::string::npos, exp_error != 0) << verdict.reason;
  }
}

// One truth for the bounds of a run and for the power that is stated of it.
TEST(Session, WidensProbabilisticBoundsByTheCasesOfItsRun) {
  const Reference reference = prepared("b1.hq1.hkv1.sq6.skv40.dqk8.dv4");
  const Candidate correct = correct_but([](int, const TensorView&) {}, 0);
  const auto used = [&](Session session) { return session.judge(reference).probabilistic.at(0).bound_used; };
  EXPECT_EQ(Session(correct, 300).tensors_in_run(), 600);
  EXPECT_EQ(used(Session(correct, 1)), used(Session(correct)));
  EXPECT_LT(used(Session(correct, 300)), used(Session(correct, 1)));
}

// Limits that candidates share are those that each would make, whatever was asked of them before.
TEST(Session, JudgesAlikeWithSharedLimits) {
  const Reference reference = prepared("b1.hq2.hkv1.sq120.skv40.dqk8.dv4");
  Candidate coarse = correct_but([](int, const TensorView& out) { nudge(out); }, 0);
  const Candidate fine = coarse;
  coarse.describe = [whole = coarse.describe](Dtype dtype, Direction direction) {
    Description description = whole(dtype, direction);
    description.arithmetic.p_dtype = Dtype::kBf16;
    return description;
  };
  SharedLimits shared(reference);
  for (const std::int64_t cases : {1, 300}) {
    for (const Candidate& candidate : {fine, coarse, fine}) {
      const Evidence one = Session(candidate, cases).judge(reference, nullptr, &shared);
      const Evidence other = Session(candidate, cases).judge(reference);
      ASSERT_EQ(one.tensors.size(), 2u);
      for (std::size_t at = 0; at < 2; ++at) {
        EXPECT_EQ(one.tensors[at].bound_used, other.tensors[at].bound_used);
        EXPECT_EQ(one.probabilistic[at].bound_used, other.probabilistic[at].bound_used);
      }
      EXPECT_EQ(one.noise.all_heads.sum, other.noise.all_heads.sum);
      EXPECT_EQ(one.bias.sums.n, other.bias.sums.n);
      EXPECT_EQ(one.bias.limit, other.bias.limit);
      EXPECT_EQ(one.zeros.inside, other.zeros.inside);
    }
  }
}

TEST(Session, TellsAtItsEndWhatTheLastCallWroteAfterItsReturn) {
  TensorView kept;
  Session session(correct_but([&](int, const TensorView& out) { kept = out; }, 0));
  session.judge(prepared("b1.hq1.hkv1.sq3.skv5.dqk8.dv8"));
  kept.store(0, 0, 0, 0, 77);
  const std::optional<Evidence> late = session.end();
  ASSERT_TRUE(late);
  EXPECT_EQ(failing_check(*late), "structure");
}

}  // namespace
}  // namespace ringproof

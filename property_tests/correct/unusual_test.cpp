// The kernels of this folder on a few short Cases of every dtype; `ringproof power` holds them to a whole tier.

#include "property_tests/correct/unusual.h"

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <set>

#include "reference/judge/power.h"
#include "reference/judge/verify.h"

namespace ringproof {

void PrintTo(const Candidate& candidate, std::ostream* to) { *to << candidate.name; }

namespace {

constexpr const char* kLines[]{
    "fwd/fp32/b2.hq4.hkv2.sq40.skv72.dqk16.dv24/causal_bottom_right/scale0.25/gauss:1/bhsd/single",
    "fwd/fp32/b1.hq2.hkv1.sq20.skv150.dqk32.dv32/full/scale-0.17677669/peaked:2/bshd+gap3/single",
    "fwd/fp32/b1.hq2.hkv2.sq50.skv20.dqk8.dv8/window(4,2)/scale0.35355338/large_offset(-2000):3/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq3.skv300.dqk8.dv16/full/scale0.25/walsh_probe:4/bhsd/single",
    "fwd/fp16/b1.hq2.hkv1.sq40.skv130.dqk64.dv64/full/scale0.125/sink:5/bhsd/single",
    "fwd/fp16/b1.hq2.hkv2.sq20.skv20.dqk32.dv32/window(0,0)/scale0.125/gauss:6/bhsd/single",
    "fwd/bf16/b1.hq2.hkv1.sq40.skv130.dqk64.dv64/causal_bottom_right/scale0.125/gauss:7/bhsd/single",
    "fwd/bf16/b1.hq2.hkv2.sq30.skv64.dqk32.dv32/full/scale0.17677669/exact:8/bhsd/single",
    "fwd/fp64/b1.hq2.hkv2.sq30.skv40.dqk32.dv32/causal_top_left/scale0.17677669529663687/peaked:9/bhsd/single",
    "fwd/fp64/b1.hq5.hkv5.sq20.skv30.dqk16.dv8/causal_bottom_right/scale0.25/special:10/bhsd/single",
    "fwd/fp32/b1.hq5.hkv5.sq20.skv30.dqk16.dv8/full/scale0.25/special:11/bhsd/single",
    "fwd/fp32/b1.hq5.hkv5.sq30.skv20.dqk16.dv8/window(4,2)/scale0.25/special:12/bhsd/single",
    "fwd/fp16/b1.hq5.hkv5.sq20.skv30.dqk16.dv8/causal_bottom_right/scale0.25/special:13/bhsd/single",
    "fwd/bf16/b1.hq5.hkv5.sq20.skv30.dqk16.dv8/causal_top_left/scale0.25/special:14/bhsd/single",
};

const std::vector<Reference>& references() {
  static const std::vector<Reference> prepared = [] {
    std::vector<Reference> all;
    for (const char* line : kLines) all.push_back(prepare(parse_case(line), 2));
    return all;
  }();
  return prepared;
}

// Outcomes of the Cases the candidate covers, and what it answered.
std::multiset<Outcome> outcomes_of(const Candidate& candidate, std::string& reasons, std::string& answers) {
  std::multiset<Outcome> outcomes;
  Buffers buffers;
  for (const Reference& reference : references()) {
    const Got got = run(candidate, reference, buffers);
    if (got.status == CallStatus::kUnsupported) continue;
    const Dtype storage = reference.c.problem.dtype;
    const Arithmetic arithmetic = resolve(candidate.describe(storage, Direction::kForward).arithmetic, storage);
    Evidence evidence = compare(candidate.name, reference, arithmetic, got);
    evidence.hidden = hidden_by_declaration(reference, arithmetic, got.description.has(kWritesLse), tensors_of_run(1),
                                            evidence.zeros);
    const CaseVerdict verdict = verify_case(evidence);
    outcomes.insert(verdict.outcome);
    if (!verdict.reason.empty()) reasons += verdict.case_line + ": " + verdict.reason + "\n";
    for (const std::byte byte : got.out.bytes()) answers.push_back(static_cast<char>(byte));
  }
  return outcomes;
}

class EveryUnusualKernel : public testing::TestWithParam<Candidate> {};

TEST_P(EveryUnusualKernel, IsAcceptedOnEveryCaseItCovers) {
  std::string reasons;
  std::string answers;
  const std::multiset<Outcome> outcomes = outcomes_of(GetParam(), reasons, answers);
  EXPECT_GE(outcomes.size(), 4u);
  EXPECT_EQ(outcomes.count(Outcome::kAccepted), outcomes.size()) << reasons;
}

class EveryLooselyDeclaredKernel : public testing::TestWithParam<Candidate> {};

TEST_P(EveryLooselyDeclaredKernel, IsInconclusive) {
  std::string reasons;
  std::string answers;
  const std::multiset<Outcome> outcomes = outcomes_of(GetParam(), reasons, answers);
  EXPECT_GE(outcomes.size(), 1u);
  EXPECT_EQ(outcomes.count(Outcome::kInconclusive), outcomes.size()) << reasons;
}

TEST(TheTf32Kernel, IsJudgedByWhatItDeclares) {
  std::string reasons;
  std::string answers;
  const std::multiset<Outcome> outcomes = outcomes_of(tf32_candidate(), reasons, answers);
  EXPECT_EQ(outcomes.count(Outcome::kAccepted), 5u) << reasons;
  EXPECT_EQ(outcomes.count(Outcome::kInconclusive), 1u) << reasons;
  EXPECT_NE(reasons.find("large_offset"), std::string::npos);
}

std::string name_of(const testing::TestParamInfo<Candidate>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Kernels, EveryUnusualKernel, testing::ValuesIn(unusual_candidates()), name_of);
INSTANTIATE_TEST_SUITE_P(Kernels, EveryLooselyDeclaredKernel, testing::ValuesIn(loosely_declared_candidates()),
                         name_of);

TEST(TheUnusualKernels, HaveNamesOfTheirOwnAndMostlyAnswersOfTheirOwn) {
  std::set<std::string> names;
  std::set<std::string> answers;
  for (const Candidate& candidate : unusual_candidates()) {
    names.insert(candidate.name);
    std::string reasons;
    std::string answer;
    outcomes_of(candidate, reasons, answer);
    answers.insert(answer);
  }
  EXPECT_EQ(names.size(), unusual_candidates().size());
  EXPECT_GE(answers.size(), 12u);
}

}  // namespace
}  // namespace ringproof

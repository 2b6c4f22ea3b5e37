#include "ci/power_run.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

const std::string kSmall = "fwd/fp32/b1.hq2.hkv1.sq20.skv24.dqk16.dv16/causal_bottom_right/scale0.25/";

PowerMatrix measured(const PowerSubjects& subjects, const std::vector<std::string>& recipes, bool is_complete = false,
                     const std::function<bool(std::int64_t, const std::string&)>& may_go_on = {}) {
  std::vector<Case> cases;
  for (const std::string& recipe : recipes) cases.push_back(parse_case(kSmall + recipe + "/bhsd/single"));
  const auto always = [](std::int64_t, const std::string&) { return true; };
  return measure_power(subjects, cases, 2, is_complete, may_go_on ? may_go_on : always);
}

// Its mutant answers zeros wherever the inputs are not those of `line`: what no call of the Case itself shows.
PowerSubjects wrong_on_other_inputs(const std::string& line) {
  PowerSubjects subjects = choose_subjects({"lse_in_base_2"});
  Mutant& mutant = subjects.mutants.front();
  mutant.name = "wrong_on_other_inputs";
  const Case c = parse_case(line);
  mutant.candidate = mutant.specimen;
  mutant.candidate.forward = [right = mutant.specimen.forward, inputs = make_inputs(c.problem, c.inputs, c.memory)](
                                 const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                 const TensorView& out, const TensorView* lse, void* stream) {
    const Status status = right(problem, q, k, v, out, lse, stream);
    const auto same = [](const TensorView& one, const Tensor& other) {
      return one.load(0, 0, 3, 0) == other.view().load(0, 0, 3, 0);
    };
    if (same(q, inputs.q) && same(k, inputs.k) && same(v, inputs.v)) return status;
    for (std::int64_t s = 0; s < out.shape[2]; ++s) out.store(0, 0, s, 0, 1000);
    return status;
  };
  return subjects;
}

TEST(PowerRun, LeavesOpenACaseThatCannotBePrepared) {
  const PowerMatrix matrix = measured(choose_subjects({"lse_in_base_2"}), {"gauss:7", "real(nowhere):0", "gauss:8"});
  EXPECT_EQ(matrix.cases_done, 3);
  EXPECT_FALSE(matrix.is_interrupted);
  const PowerRow& correct = *matrix.of(PowerRow::Kind::kCorrect).front();
  EXPECT_EQ(correct.outcome, Outcome::kInconclusive);
  EXPECT_EQ(correct.cases_as_wanted, 2);
  EXPECT_NE(correct.reason.find("nowhere"), std::string::npos) << correct.reason;
  EXPECT_EQ(matrix.of(PowerRow::Kind::kMutant).front()->outcome, Outcome::kRejected);
}

TEST(PowerRun, AsksPropertiesOfMutantsThatNothingElseRejects) {
  const PowerSubjects subjects = wrong_on_other_inputs(kSmall + "gauss:7/bhsd/single");
  for (const bool is_complete : {false, true}) {
    const PowerMatrix matrix = measured(subjects, {"gauss:7"}, is_complete);
    const PowerRow& mutant = *matrix.of(PowerRow::Kind::kMutant).front();
    EXPECT_EQ(mutant.outcome, Outcome::kRejected);
    EXPECT_EQ(mutant.checks.size(), 1u);
    EXPECT_EQ(mutant.checks.count("property"), 1u);
    EXPECT_EQ(mutant.cases_as_wanted, 1);
    EXPECT_EQ(matrix.mutants_without_properties, 0);
  }
}

TEST(PowerRun, SparesTheOthersUnlessItIsToBeComplete) {
  for (const bool is_complete : {false, true}) {
    const PowerMatrix matrix = measured(choose_subjects({"scale_missing"}), {"gauss:7"}, is_complete);
    const PowerRow& mutant = *matrix.of(PowerRow::Kind::kMutant).front();
    EXPECT_EQ(mutant.checks.count("bound of out"), 1u);
    EXPECT_EQ(matrix.is_complete, is_complete);
    EXPECT_EQ(matrix.mutants_without_properties, is_complete ? 0 : 1);
  }
}

std::int64_t pages_mapped() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

// All mutants together would want more than there are.
TEST(PowerRun, GivesBackTheAddressesOfHugeStrides) {
  const std::string huge = kSmall + "gauss:7/bhsd+huge_seq/single", small = kSmall + "gauss:8/bhsd/single";
  std::vector<std::int64_t> pages;
  measure_power(choose_subjects({"scale_missing"}), {parse_case(huge), parse_case(small)}, 1, false,
                [&](std::int64_t, const std::string&) {
                  pages.push_back(pages_mapped());
                  return true;
                });
  constexpr std::int64_t kPagesOfHuge = (std::int64_t{20} << 31) * 4 / 4096;  // 20 rows of fp32, a tensor
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_LT(pages[1] - pages[0], kPagesOfHuge / 2);
}

TEST(PowerRun, IsInterruptedBeforeItsPropertiesAreAsked) {
  const PowerSubjects subjects = wrong_on_other_inputs(kSmall + "gauss:7/bhsd/single");
  const PowerMatrix matrix = measured(subjects, {"gauss:7"}, false, [](std::int64_t, const std::string& line) {
    return line.find("properties") == std::string::npos;
  });
  EXPECT_TRUE(matrix.is_interrupted);
  EXPECT_EQ(matrix.cases_done, 1);
  EXPECT_EQ(matrix.of(PowerRow::Kind::kMutant).front()->outcome, Outcome::kAccepted);
}

}  // namespace
}  // namespace ringproof

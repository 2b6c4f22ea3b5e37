// Candidates of this process are run guarded: whatever they throw leaves a Case open, and the others go on.

#include "ci/gate_run.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <stdexcept>

#include "ci/candidates.h"
#include "ci/judge_one.h"
#include "property_tests/mutants/mutants.h"

namespace ringproof {
namespace {

constexpr const char* kSmall = "fwd/fp32/b1.hq2.hkv1.sq5.skv9.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single";
constexpr const char* kOther = "fwd/fp32/b1.hq2.hkv1.sq7.skv7.dqk8.dv8/causal_top_left/scale0.5/gauss:2/bhsd/single";
constexpr const char* kOfBatches = "fwd/fp32/b2.hq2.hkv1.sq5.skv9.dqk8.dv8/full/scale0.5/gauss:3/bhsd/single";

// The correct kernel, with `before` done at the beginning of every call.
Candidate kernel_that(const std::string& name, const std::function<void(const Problem&)>& before) {
  Candidate candidate = specimen_flash();
  candidate.name = name;
  candidate.forward = [before, forward = candidate.forward](
                          const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                          const TensorView& out, const TensorView* lse, void* stream) {
    before(problem);
    return forward(problem, q, k, v, out, lse, stream);
  };
  return candidate;
}

Candidate kernel_that_refuses(const std::function<bool(const Problem&)>& refuses) {
  Candidate candidate = specimen_flash();
  candidate.name = "refuses";
  candidate.forward = [refuses, forward = candidate.forward](
                          const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                          const TensorView& out, const TensorView* lse, void* stream) {
    if (refuses(problem)) return Status::kUnsupported;
    return forward(problem, q, k, v, out, lse, stream);
  };
  return candidate;
}

struct Ended {
  ExitCode code;
  std::vector<Verdict> verdicts;

  const Verdict& of(const std::string& name) const {
    return *std::find_if(verdicts.begin(), verdicts.end(), [&](const Verdict& v) { return v.candidate == name; });
  }
  std::string reasons() const {
    std::string all;
    for (const Verdict& verdict : verdicts) {
      for (const CaseVerdict& one : verdict.cases) all += one.reason + "\n";
    }
    return all;
  }
};

// A run of these candidates and the correct one on these Cases, without a look whether their inputs can be made.
Ended run_of(std::vector<Candidate> candidates, const std::vector<std::string>& lines, int allowed = 0) {
  GateOptions options;
  candidates.push_back(specimen_flash());
  options.own = std::move(candidates);
  options.threads = 1;
  options.refusals_max = allowed;
  std::vector<Case> cases;
  for (const std::string& line : lines) cases.push_back(parse_case(line));
  GateRun run(options, cases, this_machine());
  run.judge_all();
  EXPECT_EQ(run.cases_done(), run.cases_asked());
  Ended ended{ExitCode::kAccepted, run.verdicts()};
  ended.code = run.exit_code(ended.verdicts);
  EXPECT_EQ(ended.of("specimen_flash").count_rejected, 0);
  return ended;
}

TEST(GateRun, AcceptsACorrectKernelOfTheCaller) {
  const Ended ended = run_of({kernel_that("quiet", [](const Problem&) {})}, {kSmall, kOther, kOfBatches});
  EXPECT_EQ(ended.code, ExitCode::kAccepted);
  EXPECT_EQ(ended.of("quiet").count_accepted, 3);
  EXPECT_EQ(ended.of("specimen_flash").count_accepted, 3);
}

TEST(GateRun, LeavesTheCaseOpenOnWhichAKernelThrowsAndGoesOn) {
  const auto throws = [](const Problem& problem) {
    if (problem.mask.kind != MaskKind::kFull) throw std::runtime_error("no such tile");
  };
  const Ended ended = run_of({kernel_that("throws", throws)}, {kSmall, kOther});
  EXPECT_EQ(ended.code, ExitCode::kInconclusive);
  EXPECT_EQ(ended.of("throws").count_accepted, 1);
  EXPECT_EQ(ended.of("throws").count_inconclusive, 1);
  EXPECT_NE(ended.reasons().find("no such tile"), std::string::npos);
  EXPECT_EQ(ended.of("specimen_flash").count_accepted, 2);
}

TEST(GateRun, LeavesTheCaseOpenOnWhichAKernelThrowsWhatIsNoException) {
  const Ended ended = run_of({kernel_that("throws", [](const Problem&) { throw 7; })}, {kSmall});
  EXPECT_EQ(ended.code, ExitCode::kInconclusive);
  EXPECT_EQ(ended.of("throws").count_accepted, 0);
}

TEST(GateRun, LeavesTheCaseOpenOnWhichAPropertyCannotBeAsked) {
  const auto calls = std::make_shared<std::atomic<int>>(0);  // the first judges, the second is a property's
  const auto throws = [calls](const Problem&) {
    if (calls->fetch_add(1) == 1) throw std::runtime_error("not twice");
  };
  const Ended ended = run_of({kernel_that("throws", throws)}, {kSmall});
  EXPECT_EQ(ended.code, ExitCode::kInconclusive);
  EXPECT_NE(ended.reasons().find("not twice"), std::string::npos);
}

TEST(GateRun, LeavesTheCaseOpenOfWhichABatchElementIsNotAnsweredAlone) {
  const auto throws = [](const Problem& problem) {
    if (problem.batch == 1) throw std::runtime_error("one is too few");
  };
  const Ended ended = run_of({kernel_that("throws", throws)}, {kOfBatches});
  EXPECT_EQ(ended.code, ExitCode::kInconclusive);
  EXPECT_NE(ended.reasons().find("alone was not answered: one is too few"), std::string::npos);
}

TEST(GateRun, JudgesTheOthersWhereAKernelCannotBeDescribed) {
  Candidate undescribed = specimen_flash();
  undescribed.name = "undescribed";
  undescribed.describe = [](Dtype, Direction) -> Description { throw std::runtime_error("no words for it"); };
  const Ended ended = run_of({undescribed}, {kSmall, kOther});
  EXPECT_EQ(ended.code, ExitCode::kInconclusive);
  EXPECT_EQ(ended.of("undescribed").count_accepted, 0);
  EXPECT_EQ(ended.of("specimen_flash").count_accepted, 2);
}

TEST(GateRun, LeavesACaseOpenWhoseInputsCannotBeMade) {
  Case c = parse_case(kSmall);
  c.inputs = {RecipeKind::kReal, 0, "lost.0", 0};
  GateOptions options;
  options.own = {specimen_flash()};
  options.threads = 1;
  GateRun run(options, {c, parse_case(kOther)}, this_machine());
  run.judge_all();
  const std::vector<Verdict> verdicts = run.verdicts();
  EXPECT_EQ(run.exit_code(verdicts), ExitCode::kInconclusive);
  EXPECT_EQ(verdicts.front().count_inconclusive, 1);
  EXPECT_EQ(verdicts.front().count_accepted, 1);
}

TEST(GateRun, CountsARefusalOfTheSecondCall) {
  const auto calls = std::make_shared<std::atomic<int>>(0);
  Candidate refuses = kernel_that_refuses([calls](const Problem& problem) {
    return problem.mask.kind == MaskKind::kCausalTopLeft && calls->fetch_add(1) >= 1;
  });
  EXPECT_EQ(run_of({refuses}, {kOther}, 100).of("refuses").count_refused, 1);
}

TEST(GateRun, CountsOneCaseRefusedAtBothCallsOnce) {
  const Candidate refuses = kernel_that_refuses([](const Problem&) { return true; });
  EXPECT_EQ(run_of({refuses}, {kOther}, 100).of("refuses").count_refused, 1);
}

TEST(GateRun, CountsARefusalThatOnlyAPropertyMeets) {
  const auto refuses = [](const Problem& problem) { return problem.mask.kind == MaskKind::kWindow; };
  const std::string causal = "fwd/fp32/b1.hq2.hkv1.sq5.skv9.dqk8.dv8/causal_bottom_right/scale0.5/gauss:1/bhsd/single";
  const Ended ended = run_of({kernel_that_refuses(refuses)}, {causal});
  EXPECT_EQ(ended.code, ExitCode::kRefusals);
  EXPECT_EQ(ended.of("refuses").count_properties_refused, 1);
  EXPECT_EQ(ended.of("refuses").count_accepted, 1);
  EXPECT_EQ(run_of({kernel_that_refuses(refuses)}, {causal}, 1).code, ExitCode::kAccepted);
}

TEST(GateRunDeathTest, NamesTheCaseOnWhichAKernelOfItsOwnProcessCrashes) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto crashes = [](const Problem&) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    std::raise(SIGSEGV);
  };
  EXPECT_DEATH(run_of({kernel_that("crashes", crashes)}, {kSmall}), "crashes crashed on .*gauss:1.*inconclusive");
}

// Doubles what it gives where `is_wrong` says so of the problem and of the calls since it last forgot them.
Candidate kernel_wrong_where(const std::function<bool(const Problem&, int calls_before)>& is_wrong) {
  Candidate candidate = specimen_flash();
  const auto calls = std::make_shared<int>(0);
  candidate.forward = [calls, is_wrong, forward = candidate.forward](
                          const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                          const TensorView& out, const TensorView* lse, void* stream) {
    const Status status = forward(problem, q, k, v, out, lse, stream);
    if (is_wrong(problem, (*calls)++)) out.store(0, 0, 0, 0, 2 * out.load(0, 0, 0, 0) + 1);
    return status;
  };
  candidate.forget = [calls] { *calls = 0; };
  return candidate;
}

std::optional<Case> smallest_of(const Candidate& candidate, const std::string& line) {
  const Case c = parse_case(line);
  Buffers buffers;
  const Reference reference = prepare(c, 1);
  judge_one(candidate, reference, buffers);
  const std::string reason = failing_reason(judge_one(candidate, reference, buffers));
  EXPECT_NE(reason, "");
  return smallest_failing(candidate, c, reason, all_rows(), 1, buffers, [] { return true; });
}

TEST(TheSmallestCase, IsNoneWhereOnlyEarlierCallsMakeItFail) {
  const auto after_another = [](const Problem&, int calls_before) { return calls_before > 0; };
  EXPECT_FALSE(smallest_of(kernel_wrong_where(after_another), kSmall).has_value());
}

TEST(TheSmallestCase, FailsInACandidateThatHasForgottenItsEarlierCalls) {
  const auto for_two_batches = [](const Problem& problem, int calls_before) {
    return problem.batch == 2 || calls_before > 0;
  };
  EXPECT_EQ(smallest_of(kernel_wrong_where(for_two_batches), kOfBatches), parse_case(kOfBatches));
  const auto for_two_heads = [](const Problem& problem, int) { return problem.heads_q == 2; };
  const std::optional<Case> smallest = smallest_of(kernel_wrong_where(for_two_heads), kOfBatches);
  ASSERT_TRUE(smallest.has_value());
  EXPECT_EQ(smallest->problem.batch, 1);
  EXPECT_EQ(smallest->problem.heads_q, 2);
}

}  // namespace
}  // namespace ringproof

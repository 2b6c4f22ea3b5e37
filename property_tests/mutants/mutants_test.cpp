// A handful of mutants, one of each edited source, and their specimens on a few short Cases. `ringproof power` holds
// all of them to a whole tier (ci/power_test.py). No check knows of any mutant.

#include "property_tests/mutants/mutants.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <ostream>
#include <set>

#include "reference/judge/verify.h"

namespace ringproof {

void PrintTo(const Mutant& mutant, std::ostream* to) { *to << mutant.name << ", " << mutant.imitates; }

namespace {

constexpr const char* kLines[]{
    "fwd/fp32/b1.hq2.hkv1.sq20.skv150.dqk32.dv32/full/scale0.17677669/peaked:2/bhsd/single",
    "fwd/bf16/b1.hq2.hkv2.sq60.skv64.dqk32.dv32/causal_top_left/scale0.17677669/gauss:3/bhsd/single",
    "fwd/fp32/b1.hq2.hkv2.sq64.skv64.dqk32.dv32/full/scale0.17677669/gauss:4/bhsd/zigzag4",
    "fwd/fp64/b1.hq2.hkv2.sq20.skv40.dqk16.dv16/causal_bottom_right/scale0.25/gauss:5/bhsd/single",
    "fwd/fp32/b2.hq12.hkv3.sq12.skv12.dqk8.dv8/full/scale0.35355339/gauss:5/bhsd/head_split2",
    "fwd/fp32/b1.hq2.hkv1.sq14.skv14.dqk8.dv8/full/scale0.35355339/gauss:6/bhsd/all_gather3",
    "fwd/fp32/b1.hq4.hkv2.sq20.skv33.dqk16.dv8/window(9,0)/scale0.25,sink/gauss:452/bhsd/single",
    "fwd/fp16/b1.hq4.hkv2.sq24.skv40.dqk16.dv16/causal_bottom_right/scale0.25,softcap5,sink/gauss:455/bhsd/single",
    "fwd/fp8_e4m3/b1.hq2.hkv1.sq20.skv33.dqk16.dv8/causal_bottom_right/scale0.25,softcap20,sink,descale(0.7,1.3,3)/"
    "peaked:458/bhsd/single",
};

Outcome outcome_of(const Candidate& candidate) {
  Outcome outcome = Outcome::kAccepted;
  Buffers buffers;
  for (const char* line : kLines) {
    const Reference reference = prepare(parse_case(line), 2);
    const Got got = run(candidate, reference, buffers);
    if (got.status == CallStatus::kUnsupported) continue;
    const Dtype storage = reference.c.problem.dtype;
    const Arithmetic arithmetic = resolve(candidate.describe(storage, Direction::kForward).arithmetic, storage);
    outcome = worst(outcome, verify_case(compare(candidate.name, reference, arithmetic, got)).outcome);
  }
  return outcome;
}

std::vector<Mutant> handful() {
  const std::set<std::string> names{"rescale_of_o_missing",
                                    "scores_in_bf16",
                                    "lse_in_base_2",
                                    "last_hop_dropped",
                                    "zigzag_order_not_undone",
                                    "merge_weights_in_base_2",
                                    "wrong_direction",
                                    "softcap_after_mask",
                                    "sink_of_kv_head",
                                    "descale_v_missing",
                                    "window_left_one_too_long",
                                    "lse_of_splits_in_base_2",
                                    "lse_rounded_to_fp32",
                                    "mma_mask_of_other_half",
                                    "ulysses_batch_transposed",
                                    "ulysses_cut_groups_taken_for_even",
                                    "all_gather_last_block_early"};
  std::vector<Mutant> chosen = mutants();
  std::erase_if(chosen, [&](const Mutant& mutant) { return !names.contains(mutant.name); });
  return chosen;
}

class AHandfulOfMutants : public testing::TestWithParam<Mutant> {};

TEST_P(AHandfulOfMutants, AreCaughtWhereTheirSpecimensAreAccepted) {
  const Mutant& mutant = GetParam();
  EXPECT_EQ(outcome_of(mutant.candidate), mutant.ends_in_error ? Outcome::kInconclusive : Outcome::kRejected);
  EXPECT_EQ(outcome_of(mutant.specimen), Outcome::kAccepted);
}

std::string name_of(const testing::TestParamInfo<Mutant>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Mutants, AHandfulOfMutants, testing::ValuesIn(handful()), name_of);

TEST(TheHandful, HoldsAMutantOfEverySource) {
  std::set<std::string> sources, in_handful;
  for (const Mutant& mutant : mutants()) sources.insert(mutant.source);
  for (const Mutant& mutant : handful()) in_handful.insert(mutant.source);
  EXPECT_EQ(in_handful, sources);
}

// The Cases of the fast tier that have ranks, rings of one among them, the short ones first.
std::vector<Reference> fast_cases_of_ranks() {
  std::ifstream file(RINGPROOF_FAST_CASES);
  std::vector<Reference> all;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#') || line.find("/real(") != std::string::npos) continue;
    const Case c = parse_case(line);
    if (c.problem.topology.schedule != Schedule::kSingle) all.push_back(prepare(c, 2));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Reference& a, const Reference& b) { return a.time_ms < b.time_ms; });
  return all;
}

Outcome outcome_in_simulator(const Candidate& candidate, const std::vector<Reference>& references, Outcome want) {
  Outcome outcome = Outcome::kAccepted;
  Buffers buffers;
  for (const Reference& reference : references) {
    const Got got = run(candidate, reference, buffers);
    if (got.status == CallStatus::kUnsupported) continue;
    const Dtype storage = reference.c.problem.dtype;
    const Arithmetic arithmetic = resolve(candidate.describe(storage, Direction::kForward).arithmetic, storage);
    outcome = worst(outcome, verify_case(compare(candidate.name, reference, arithmetic, got)).outcome);
    if (outcome == want) break;
  }
  return outcome;
}

TEST(TheMutants, OfRanksAreCaughtOnTheFastCasesInTheSimulatorToo) {
  const std::vector<Reference> references = fast_cases_of_ranks();
  int count = 0;
  for (const Mutant& mutant : mutants()) {
    EXPECT_EQ(mutant.simulated.name.empty(), !mutant.source.starts_with("distributed/")) << mutant.name;
    if (mutant.simulated.name.empty()) continue;
    ++count;
    const Outcome want = mutant.ends_in_error ? Outcome::kInconclusive : Outcome::kRejected;
    EXPECT_EQ(outcome_in_simulator(mutant.simulated, references, want), want) << mutant.name;
  }
  EXPECT_GE(count, 25);
}

TEST(TheMutants, EditTheRealKernelAndTheRealRing) {
  std::set<std::string> names;
  std::int64_t of_kernel = 0, of_ring = 0;
  for (const Mutant& mutant : mutants()) {
    names.insert(mutant.name);
    of_kernel += mutant.source.starts_with("gpu/");
    of_ring += mutant.source.starts_with("distributed/");
  }
  EXPECT_EQ(names.size(), mutants().size());
  EXPECT_GE(names.size(), 60u);
  EXPECT_GE(of_kernel, 10);
  EXPECT_GE(of_ring, 10);
}

TEST(FaultsThatCannotBeSeen, AreListedWithTheirReasonAndFloor) {
  EXPECT_GE(unseen_faults().size(), 1u);
  for (const UnseenFault& fault : unseen_faults()) {
    EXPECT_FALSE(fault.fault.empty() || fault.reason.empty() || fault.floor.empty()) << fault.fault;
  }
}

}  // namespace
}  // namespace ringproof

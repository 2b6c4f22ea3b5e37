// Every mutant falls to the fast cases, and its specimen does not: a mutant is run on them in order of size
// until one does not accept it, and the specimen on that same Case. No check knows of any mutant.

#include "property_tests/mutants/mutants.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "reference/judge/verify.h"
#include "reference/spec/case.h"

namespace ringproof {

void PrintTo(const Mutant& mutant, std::ostream* to) { *to << mutant.name << ", " << mutant.imitates; }

namespace {

std::vector<Case> fast_cases() {
  std::ifstream file(RINGPROOF_FAST_CASES);
  std::stringstream text;
  text << file.rdbuf();
  std::vector<Case> cases = parse_cases(text.str(), RINGPROOF_FAST_CASES);
  const auto work = [](const Case& c) {
    const Problem& p = c.problem;
    return p.batch * p.heads_q * p.seqlen_q * p.seqlen_kv * (p.head_dim_qk + p.head_dim_v);
  };
  std::stable_sort(cases.begin(), cases.end(), [&](const Case& a, const Case& b) { return work(a) < work(b); });
  return cases;
}

// Each Case is prepared once, when the first mutant asks.
const Reference& reference_of(const Case& c) {
  static std::map<std::string, Reference> prepared;
  const std::string line = to_string(c);
  const auto found = prepared.find(line);
  return found != prepared.end() ? found->second : prepared.emplace(line, prepare(c, 2)).first->second;
}

Evidence judged(const Candidate& candidate, const Case& c) {
  const Reference& reference = reference_of(c);
  Buffers buffers;
  const Got got = run(candidate, reference, buffers);
  const Dtype storage = c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, c.direction).arithmetic, storage);
  return compare(candidate.name, reference, arithmetic, got);
}

bool is_supported(const Candidate& candidate, const Case& c) {
  return unsupported_reason(candidate.describe(Dtype::kDefault, c.direction), c.problem).empty();
}

// The first check that a Case failed, in the order of judgement.
std::string check_of(const Evidence& evidence) {
  if (evidence.status == CallStatus::kFailed) return "failed call";
  if (!evidence.structure_faults.empty()) return "structure";
  if (evidence.by_value.count_outside != 0) return "by value";
  for (const TensorEvidence& tensor : evidence.tensors) {
    if (tensor.count_outside != 0) return "bound of " + tensor.name;
  }
  return "none";
}

class EveryMutant : public testing::TestWithParam<Mutant> {};

TEST_P(EveryMutant, FallsToTheFastCases) {
  const Mutant& mutant = GetParam();
  const Outcome want = mutant.ends_in_error ? Outcome::kInconclusive : Outcome::kRejected;
  for (const Case& c : fast_cases()) {
    if (!is_supported(mutant.candidate, c)) continue;
    const Evidence evidence = judged(mutant.candidate, c);
    const CaseVerdict verdict = verify_case(evidence);
    if (verdict.outcome != want) continue;
    std::cout << mutant.name << " (" << mutant.imitates << "): " << to_string(want) << " by " << check_of(evidence)
              << " on '" << verdict.case_line << "': " << verdict.reason << "\n";
    const CaseVerdict of_specimen = verify_case(judged(mutant.specimen, c));
    EXPECT_EQ(of_specimen.outcome, Outcome::kAccepted) << mutant.specimen.name << ": " << of_specimen.reason;
    return;
  }
  ADD_FAILURE() << mutant.name << " survives every Case of " << RINGPROOF_FAST_CASES;
}

std::string name_of(const testing::TestParamInfo<Mutant>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Mutants, EveryMutant, testing::ValuesIn(mutants()), name_of);

TEST(TheMutants, EditTheRealKernelAndTheRealRing) {
  std::int64_t of_kernel = 0, of_ring = 0;
  std::set<std::string> names;
  for (const Mutant& mutant : mutants()) {
    names.insert(mutant.name);
    of_kernel += mutant.source.starts_with("gpu/");
    of_ring += mutant.source.starts_with("distributed/");
  }
  EXPECT_GE(names.size(), 15u);
  EXPECT_GE(of_kernel, 5);
  EXPECT_GE(of_ring, 5);
}

TEST(TheSpecimenToBreak, IsAcceptedOnEveryFastCase) {
  const Candidate specimen = specimen_flash();
  std::int64_t count_accepted = 0;
  for (const Case& c : fast_cases()) {
    if (!is_supported(specimen, c)) continue;
    const CaseVerdict verdict = verify_case(judged(specimen, c));
    EXPECT_EQ(verdict.outcome, Outcome::kAccepted) << verdict.case_line << ": " << verdict.reason;
    ++count_accepted;
  }
  EXPECT_GE(count_accepted, 5);
}

}  // namespace
}  // namespace ringproof

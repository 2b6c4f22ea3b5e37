// Goal: what attention is by definition holds for the oracle, the kernels, the rings and the specimen of the
// mutants alike. Method: each property of properties.h, on Cases drawn from all that the candidate declares to
// support.

#include <gtest/gtest.h>

#include "property_tests/candidates.h"
#include "property_tests/expect.h"
#include "property_tests/properties.h"

namespace ringproof {

void PrintTo(const Candidate& candidate, std::ostream* to) { *to << candidate.name; }

namespace {

class EveryCorrectCandidate : public testing::TestWithParam<Candidate> {
 protected:
  void expect_holds(int draws, std::string (*property)(const Candidate&, const Case&), const CaseSpace& space) {
    expect_property(space, draws, [&](const Case& c) { return property(GetParam(), c); });
  }
  CaseSpace space() const { return space_of(GetParam()); }
};

TEST_P(EveryCorrectCandidate, IsAcceptedOnAnyCase) { expect_holds(200, is_accepted, space()); }

TEST_P(EveryCorrectCandidate, ReturnsConvexCombinationsOfTheValuesARowSees) {
  expect_holds(100, rows_are_convex_combinations, space());
}

TEST_P(EveryCorrectCandidate, ReturnsAConstantV) { expect_holds(100, constant_values_are_returned, space()); }

// Causal and window masks: under full there is no hidden key.
TEST_P(EveryCorrectCandidate, LetsCausalRowsIgnoreTheFuture) {
  CaseSpace masked = space();
  std::erase(masked.masks, MaskKind::kFull);
  expect_holds(100, hidden_keys_change_nothing, masked);
}

TEST_P(EveryCorrectCandidate, DoesNotCareForTheOrderOfKeys) {
  CaseSpace full = space();
  full.masks = {MaskKind::kFull};
  expect_holds(60, key_order_changes_nothing, full);
}

TEST_P(EveryCorrectCandidate, TreatsGroupedHeadsAsRepeatedHeads) {
  CaseSpace grouped = space();
  grouped.grouped_heads = true;
  expect_holds(60, grouped_heads_equal_repeated_heads, grouped);
}

std::string name_of(const testing::TestParamInfo<Candidate>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Properties, EveryCorrectCandidate, testing::ValuesIn(correct_candidates()), name_of);

}  // namespace
}  // namespace ringproof

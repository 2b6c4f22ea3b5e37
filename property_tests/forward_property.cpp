// Goal: what attention is by definition holds for the oracle, the kernels, the rings and the specimen of the
// mutants alike. Method: each property of judge/properties.h, on Cases drawn from all that the candidate declares to
// support.

#include <gtest/gtest.h>

#include <algorithm>

#include "property_tests/candidates.h"
#include "property_tests/expect.h"
#include "reference/judge/properties.h"

namespace ringproof {

void PrintTo(const Candidate& candidate, std::ostream* to) { *to << candidate.name; }

namespace {

class EveryCorrectCandidate : public testing::TestWithParam<Candidate> {
 protected:
  // Draws from the candidate's space until `draws` Cases were ones that `property` is made for.
  void expect_holds(int draws, PropertyResult (*holds)(const Candidate&, const Case&, const PropertyMemory&),
                    CaseSpace space) {
    const Candidate& candidate = GetParam();
    const Description description = candidate.describe(Dtype::kDefault, Direction::kForward);
    const auto property =
        std::find_if(properties().begin(), properties().end(), [&](const Property& one) { return one.holds == holds; });
    ASSERT_NE(property, properties().end()) << "the property is not in the list";
    std::int64_t count_asked = 0;
    Buffers buffers;
    expect_property(space, draws, [&](const Case& c) -> std::string {
      if (!property->applies(candidate, description, c)) return "";
      const PropertyResult result = holds(candidate, c, buffers);
      if (result.outcome == Outcome::kUnsupported) return "";
      ++count_asked;
      return result.sentence;
    });
    EXPECT_NE(count_asked, 0) << property->name << " was asked of no Case";
  }
  CaseSpace space() const { return space_of(GetParam()); }
  CaseSpace space_with(MaskKind mask) const {
    CaseSpace narrowed = space();
    narrowed.masks = {mask};
    return narrowed;
  }
};

TEST_P(EveryCorrectCandidate, IsAcceptedOnAnyCase) {
  CaseSpace with_special = space();
  with_special.special = true;
  expect_property(with_special, 200, [&](const Case& c) { return is_accepted(GetParam(), c); });
}

TEST_P(EveryCorrectCandidate, ReturnsConvexCombinationsOfTheValuesARowSees) {
  expect_holds(100, rows_are_convex_combinations, space());
}

TEST_P(EveryCorrectCandidate, ReturnsAConstantV) { expect_holds(100, constant_values_are_returned, space()); }

TEST_P(EveryCorrectCandidate, IsLinearInV) { expect_holds(60, values_enter_linearly, space()); }

TEST_P(EveryCorrectCandidate, DoesNotCareForACommonOffset) { expect_holds(60, common_offset_changes_nothing, space()); }

// Causal and window masks: under full there is no hidden key.
TEST_P(EveryCorrectCandidate, LetsCausalRowsIgnoreTheFuture) {
  CaseSpace masked = space();
  std::erase(masked.masks, MaskKind::kFull);
  expect_holds(100, hidden_keys_change_nothing, masked);
}

TEST_P(EveryCorrectCandidate, KeepsHeadsAndBatchesApart) { expect_holds(60, other_heads_change_nothing, space()); }

TEST_P(EveryCorrectCandidate, DoesNotCareForTheOrderOfKeys) {
  expect_holds(60, key_order_changes_nothing, space_with(MaskKind::kFull));
}

TEST_P(EveryCorrectCandidate, TreatsGroupedHeadsAsRepeatedHeads) {
  CaseSpace grouped = space();
  grouped.grouped_heads = true;
  expect_holds(60, grouped_heads_equal_repeated_heads, grouped);
}

TEST_P(EveryCorrectCandidate, TakesAWholeWindowForCausal) {
  expect_holds(60, whole_window_equals_causal, space_with(MaskKind::kCausalBottomRight));
}

TEST_P(EveryCorrectCandidate, MergesFromTwoHalvesOfTheKeys) {
  CaseSpace single = space_with(MaskKind::kFull);
  single.topologies = {Topology{Schedule::kSingle}};
  expect_holds(60, merged_halves_equal_the_whole, single);
}

std::string name_of(const testing::TestParamInfo<Candidate>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Properties, EveryCorrectCandidate, testing::ValuesIn(correct_candidates()), name_of);

}  // namespace
}  // namespace ringproof

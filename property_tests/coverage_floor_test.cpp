// Goal: each floor of coverage is the level it says. Method: at the family's level of that measure the class's mutant
// is rejected for at least 95 of 100 seeds, two octaves below for fewer; and Cases of there are named.

#include "property_tests/coverage_floor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>

#include "property_tests/mutants/mutants.h"

namespace ringproof {
namespace {

struct Place {
  FaultClass fault;
  Dtype storage;
  int level_at, level_below;  ///< of the family: where the measure lies just above the floor, and far below
};

void PrintTo(const Place& place, std::ostream* to) {
  *to << facts_of(place.fault).mutant << " in " << to_string(place.storage);
}

class EveryFloor : public testing::TestWithParam<Place> {};

Description description_of_all() {
  Description description;
  description.masks = 0xf;
  description.schedules = 0xf;
  description.features = kGroupedHeads;
  return description;
}

std::string three_digits(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", value);
  return text.data();
}

TEST_P(EveryFloor, IsTheMeasureAtWhichNinetyFiveOfAHundredMutantsFall) {
  const auto [fault, storage, level_at, level_below] = GetParam();
  const double floor = floor_of(fault, storage).value();
  const CoverageLevel at = level_of_family(fault, storage, level_at);
  EXPECT_EQ(three_digits(at.measure_mean), three_digits(floor));
  EXPECT_GE(at.rejected, 95);
  const CoverageLevel below = level_of_family(fault, storage, level_below);
  EXPECT_LT(below.measure_mean, floor);
  EXPECT_LT(below.rejected, 95);
}

TEST_P(EveryFloor, IsNamedByCasesBelowIt) {
  const auto [fault, storage, level_at, level_below] = GetParam();
  const Case c = case_of_family(fault, storage, level_below, 1);
  const std::vector<std::string> sentences = not_exercised(coverage_of(prepare(c, 1)), description_of_all(), storage);
  const std::string mutant = "(mutant " + facts_of(fault).mutant + ")";
  EXPECT_TRUE(std::any_of(sentences.begin(), sentences.end(), [&](const std::string& sentence) {
    return sentence.find(facts_of(fault).name + " was not exercised: ") == 0 &&
           sentence.find(mutant) != std::string::npos;
  })) << to_string(c);
}

using enum FaultClass;
using enum Dtype;

INSTANTIATE_TEST_SUITE_P(Coverage, EveryFloor,
                         testing::Values(Place{kRescaleOfO, kF32, 18, 22}, Place{kRescaleOfO, kF16, 12, 16},
                                         Place{kRescaleOfO, kBf16, 6, 10}, Place{kRescaleOfL, kF32, 17, 21},
                                         Place{kRescaleOfL, kF16, 11, 15}, Place{kRescaleOfL, kBf16, 5, 9},
                                         Place{kMaskEdge, kF32, 14, 17}, Place{kMaskEdge, kF16, 12, 16},
                                         Place{kMaskEdge, kBf16, 7, 11}, Place{kGroupMap, kF32, 1, 2},
                                         Place{kGroupMap, kF16, 1, 2}, Place{kGroupMap, kBf16, 1, 2},
                                         Place{kMergeWeights, kF32, 9, 13}, Place{kMergeWeights, kF16, 3, 7},
                                         Place{kMergeWeights, kBf16, 0, 4}, Place{kMergeOfNegligible, kF32, 0, 5}));

TEST(Floors, BelongToMutantsThatExist) {
  const std::vector<Mutant> all = mutants();
  for (const FaultClass fault : kFaultClasses) {
    const std::string name = facts_of(fault).mutant;
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const Mutant& one) { return one.name == name; })) << name;
  }
}

}  // namespace
}  // namespace ringproof

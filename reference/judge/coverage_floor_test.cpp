#include "reference/judge/coverage_floor.h"

#include <gtest/gtest.h>

#include <limits>

namespace ringproof {
namespace {

Description ring() {
  Description description;
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kWindow);
  description.schedules = bit_of(Schedule::kSingle) | bit_of(Schedule::kZigzag);
  description.features = kGroupedHeads;
  return description;
}

// Above every floor, whatever the storage.
Coverage rich() { return {0.4, 0.4, 9, 3, 0.4, 9, {}}; }

TEST(NotExercised, IsNothingWhereEveryFloorIsReached) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    EXPECT_TRUE(not_exercised(rich(), ring(), dtype).empty());
  }
}

TEST(NotExercised, NamesEachClassBelowItsFloorWithItsMutant) {
  const std::vector<std::string> all = not_exercised({}, ring(), Dtype::kF32);
  ASSERT_EQ(all.size(), std::size(kFaultClasses));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const FaultClassFacts facts = facts_of(kFaultClasses[i]);
    EXPECT_EQ(all[i].find(facts.name + " was not exercised: " + facts.measured + " 0, floor "), 0u) << all[i];
    EXPECT_TRUE(all[i].ends_with("(mutant " + facts.mutant + ")")) << all[i];
  }
  Coverage coverage = rich();
  coverage.rescale_mass = 0.001;
  EXPECT_EQ(not_exercised(coverage, ring(), Dtype::kBf16),
            (std::vector<std::string>{"rescaling of O was not exercised: rescale mass 0.001, floor 0.0365 (mutant "
                                      "rescale_of_o_missing)",
                                      "rescaling of l was not exercised: rescale mass 0.001, floor 0.0508 (mutant "
                                      "rescale_of_l_missing)"}));
}

TEST(NotExercised, IsExactAtTheFloor) {
  Coverage coverage = rich();
  coverage.edge_mass = floor_of(FaultClass::kMaskEdge, Dtype::kF16).value();
  EXPECT_TRUE(not_exercised(coverage, ring(), Dtype::kF16).empty());
  coverage.edge_mass *= 1 - 0x1p-40;
  EXPECT_EQ(not_exercised(coverage, ring(), Dtype::kF16).size(), 1u);
}

TEST(NotExercised, CountsAMeasureThatIsNoNumberAsBelow) {
  Coverage coverage = rich();
  coverage.rescale_mass = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(not_exercised(coverage, ring(), Dtype::kF32).size(), 2u);
}

TEST(NotExercised, LeavesOutWhatTheCandidateCannotDoWrong) {
  Description kernel;
  kernel.masks = bit_of(MaskKind::kFull);
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kF32).size(), 2u);  // rescaling of O and of l
  kernel.masks |= bit_of(MaskKind::kDocument);
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kF32).size(), 3u);
  kernel.features = kGroupedHeads;
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kF32).size(), 4u);
  kernel.schedules |= bit_of(Schedule::kHeadSplit) | bit_of(Schedule::kAllGather);
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kF32).size(), 4u);
  kernel.schedules |= bit_of(Schedule::kStriped);
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kF32).size(), 6u);
  EXPECT_EQ(not_exercised({}, kernel, Dtype::kBf16).size(), 5u);  // a lerp of fp32 partials does not show there
}

}  // namespace
}  // namespace ringproof

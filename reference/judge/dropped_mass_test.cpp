#include "reference/judge/dropped_mass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference/judge/bound_oracle.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

Reference reference_of(const std::string& mask, const std::string& recipe = "gauss:5", const char* dtype = "fp32") {
  return prepare(parse_case("fwd/" + std::string(dtype) + "/b2.hq4.hkv2.sq13.skv29.dqk8.dv5/" + mask + "/scale0.35/" +
                            recipe + "/bhsd/single"),
                 1);
}

TEST(DroppedMass, IsNothingUnderOtherMasksAndWhereEveryTileIsKept) {
  EXPECT_TRUE(dropped_mass_of_rows(reference_of("causal_top_left"), 1).empty());
  EXPECT_TRUE(facts_of(dropped_mass(reference_of("document(13,29)"), 1)).empty());
  const DroppedMass none = dropped_mass(reference_of("block_sparse(4x3,keep1:5)"), 1);
  EXPECT_EQ(none.rows, 2 * 4 * 13);
  EXPECT_EQ(none.max, 0);
  EXPECT_EQ(none.mean(), 0);
}

TEST(DroppedMass, IsAllOfItWhereEveryTileIsHiddenAndNothingWithoutKeys) {
  const DroppedMass all = dropped_mass(reference_of("block_sparse(4x3,keep0:5)"), 1);
  EXPECT_EQ(all.mean(), 1);
  EXPECT_EQ(all.max, 1);
  const Case no_keys =
      parse_case("fwd/fp32/b1.hq1.hkv1.sq3.skv0.dqk8.dv5/block_sparse(4x3,keep0.5:5)/scale0.35/gauss:5/bhsd/single");
  EXPECT_EQ(dropped_mass(prepare(no_keys, 1), 1).max, 0);
}

// Equal scores: the mass is the share of keys that are hidden, an exact quotient.
TEST(DroppedMass, IsTheShareOfHiddenKeysWhereScoresAreEqual) {
  const Reference reference = reference_of("block_sparse(4x3,keep0.4:5)", "uniform_probe:5", "fp64");
  const Visibility visibility(reference.c.problem);
  Case full = reference.c;
  full.problem.mask = Mask{MaskKind::kFull};
  const std::vector<double> error = oracle_error(reference.c.problem, reference.want).lse;
  const std::vector<double> error_full = oracle_error(full.problem, prepare(full, 1).want).lse;
  const std::vector<double> dropped = dropped_mass_of_rows(reference, 1);
  ASSERT_EQ(dropped.size(), 2u * 4 * 13);
  for (std::size_t row = 0; row < dropped.size(); ++row) {
    const auto seen = static_cast<double>(visibility.count(static_cast<std::int64_t>(row % 13)));
    // Both lse are doubles here, rounded at a magnitude below 4; four roundings more follow.
    const double roundings = 8 * 0x1p-53;
    EXPECT_LE(std::fabs(1 - dropped[row] - seen / 29), error[row] + error_full[row] + roundings);
  }
}

// The bound on what dropping does, against the oracle's own answer under the mask full; the oracle's errors on both.
TEST(DroppedMass, BoundsHowFarTheAnswerIsFromThatOfTheFullMask) {
  double used = 0;
  int seed = 0;
  for (const char* recipe : {"gauss", "peaked", "sink", "large_offset(100)", "uniform_probe"}) {
    for (const char* mask : {"block_sparse(1x1,keep0.5:", "block_sparse(5x4,keep0.3:", "block_sparse(3x9,keep0.8:"}) {
      for (const char* dtype : {"fp32", "bf16"}) {
        const std::string draw = std::to_string(++seed);
        const Reference masked = reference_of(mask + draw + ")", recipe + (":" + draw), dtype);
        const Reference full = reference_of("full", recipe + (":" + draw), dtype);
        ASSERT_EQ(masked.inputs.v.bytes(), full.inputs.v.bytes());
        const std::vector<double> dropped = dropped_mass_of_rows(masked, 1);
        const Bounds error = oracle_error(masked.c.problem, masked.want);
        const Bounds error_full = oracle_error(full.c.problem, full.want);
        for (std::size_t at = 0; at < full.want.out.value.size(); ++at) {
          const std::size_t row = at / 5;
          const double apart = std::fabs(masked.want.out.value[at] - full.want.out.value[at]);
          // The mass is a difference of two lse: their errors are its own.
          const double mass = dropped[row] + error.lse[row] + error_full.lse[row];
          const double largest = full.want.statistics.max_abs_v[at];
          const double bound = 2 * mass * largest + error.out[at] + error_full.out[at];
          EXPECT_LE(apart, bound) << to_string(masked.c) << " element " << at;
          if (bound > 0) used = std::max(used, apart / bound);
        }
      }
    }
  }
  EXPECT_GT(used, 0.5);  // a bound that nothing approaches says nothing
}

TEST(DroppedMass, CountsTheSinkWithTheKeysThatStay) {
  const std::string line = "fwd/fp32/b1.hq2.hkv2.sq13.skv29.dqk8.dv5/block_sparse(4x3,keep0.5:5)/scale0.35";
  const auto dropped = [&](const char* scalars) {
    return dropped_mass_of_rows(prepare(parse_case(line + scalars + "/gauss:5/bhsd/single"), 1), 1);
  };
  const std::vector<double> without = dropped(""), with = dropped(",sink");
  ASSERT_EQ(with.size(), without.size());
  for (std::size_t row = 0; row < with.size(); ++row) EXPECT_LE(with[row], without[row]) << row;
}

TEST(DroppedMass, OfASampleIsThatOfItsRows) {
  const Case c =
      parse_case("fwd/fp32/b1.hq2.hkv1.sq50.skv40.dqk8.dv5/block_sparse(4x3,keep0.4:5)/scale0.35/gauss:5/bhsd/single");
  const Reference all = prepare(c, 1), some = prepare(c, {0, 16}, 1);
  const std::vector<double> of_all = dropped_mass_of_rows(all, 1), of_some = dropped_mass_of_rows(some, 1);
  ASSERT_LT(of_some.size(), of_all.size());
  for (std::size_t row = 0; row < of_some.size(); ++row) {
    EXPECT_EQ(of_some[row], of_all[static_cast<std::size_t>(some.want.row_at(row))]);
  }
}

TEST(DroppedMass, OfTwoCasesIsTheMeanOverAllRows) {
  const DroppedMass both = merged({1.5, 0.75, 3}, {0.5, 0.5, 1});
  EXPECT_EQ(both.mean(), 0.5);
  EXPECT_EQ(both.max, 0.75);
  const std::vector<Fact> facts = facts_of(both);
  ASSERT_EQ(facts.size(), 3u);
  EXPECT_EQ(facts[0].value, 0.5);
  EXPECT_EQ(facts[1].value, 0.75);
  EXPECT_EQ(facts[2].value, 1.5);
  EXPECT_NE(facts[0].measured_against.find("4 rows"), std::string::npos);
}

}  // namespace
}  // namespace ringproof

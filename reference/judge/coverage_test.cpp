#include "reference/judge/coverage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace ringproof {
namespace {

// `want` as far as a handful of sums, products and exponentials in double allow: each is wrong by at most a few units
// of roundoff relative to what is added, and nothing here cancels.
void expect_rounded(double got, double want) {
  constexpr double kRoundings = 64;
  const double bound = kRoundings * 0x1p-53 * want;
  EXPECT_LE(std::fabs(got - want), bound) << got << " and " << want;
}

// One head of fp64 whose row i scores what `scores` says in column 0 (q = 1), and whose values are `values`.
Reference reference_of(const std::string& mask, const std::string& topology, std::int64_t rows,
                       const std::vector<double>& scores, const std::vector<double>& values) {
  const std::string shape =
      "b1.hq1.hkv1.sq" + std::to_string(rows) + ".skv" + std::to_string(scores.size()) + ".dqk1.dv1";
  const Case c = parse_case("fwd/fp64/" + shape + "/" + mask + "/scale1/gauss:0/bhsd/" + topology);
  Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  for (std::int64_t row = 0; row < rows; ++row) inputs.q.view().store(0, 0, row, 0, 1);
  for (std::size_t key = 0; key < scores.size(); ++key) {
    inputs.k.view().store(0, 0, static_cast<std::int64_t>(key), 0, scores[key]);
    inputs.v.view().store(0, 0, static_cast<std::int64_t>(key), 0, values[key]);
  }
  ForwardAnswer want = attention_forward(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), 1);
  return {c, std::move(inputs), std::move(want), 0};
}

Reference reference_of(const std::string& line) { return prepare(parse_case(line), 1); }

// Weights 1/8, 3/8, 1/8, 3/8: tiles of one key rise once, by r = 1/3, behind 1/8.
TEST(Coverage, CountsTheMassBehindARiseTimesWhatTheFactorTakesAway) {
  const double log3 = std::log(3.0);
  const Reference reference = reference_of("full", "single", 1, {0, log3, 0, log3}, {1, 1, 1, 1});
  expect_rounded(coverage_of(reference, 1).rescale_mass, 0.125 * (2.0 / 3));
  EXPECT_EQ(coverage_of(reference, 2).rescale_mass, 0);
  EXPECT_EQ(coverage_of(reference, 4).rescale_mass, 0);
}

// Rises by 3 behind 1/16 and again by 3 behind 4/16, the tile's own keys not counted.
TEST(Coverage, AddsUpRises) {
  const double log3 = std::log(3.0), log9 = std::log(9.0);
  const Reference reference = reference_of("full", "single", 2, {0, log3, log9, log3}, {1, 1, 1, 1});
  expect_rounded(coverage_of(reference, 1).rescale_mass, (1 + 4) / 16.0 * (2.0 / 3));
}

TEST(Coverage, OfASinkOnTheFirstKeyHasNoRescaleMass) {
  EXPECT_EQ(coverage_of(reference_of("full", "single", 1, {9, 1, 2, 3}, {1, 1, 1, 1}), 1).rescale_mass, 0);
}

TEST(Coverage, OfTheSlopesIsThatOfTheirOrder) {
  const auto line = [](const char* recipe) {
    return std::string("fwd/bf16/b1.hq1.hkv1.sq8.skv512.dqk64.dv8/full/scale0.125/") + recipe + ":1/bhsd/single";
  };
  const double ascending = coverage_of(reference_of(line("ascending"))).rescale_mass;
  EXPECT_GT(ascending, coverage_of(reference_of(line("gauss"))).rescale_mass);
  EXPECT_EQ(coverage_of(reference_of(line("descending"))).rescale_mass, 0);
  EXPECT_EQ(coverage_of(reference_of(line("uniform_probe"))).rescale_mass, 0);
}

TEST(Coverage, WeighsTheKeyAtTheEdgeOfTheMask) {
  const std::vector<double> scores{0, 0, 0, 0}, values{1, 2, 3, 4};
  EXPECT_EQ(coverage_of(reference_of("full", "single", 4, scores, values)).edge_mass, 0);
  // Rows of 1, 2 and 3 keys have an edge; the last row sees all.
  expect_rounded(coverage_of(reference_of("causal_top_left", "single", 4, scores, values)).edge_mass,
                 (1 + 1.0 / 2 + 1.0 / 3) / 3);
  // Both ends of the window: the lighter one.
  const double log3 = std::log(3.0);
  const Reference windows = reference_of("window(1,0)", "single", 4, {0, 0, log3, 0}, values);
  expect_rounded(coverage_of(windows).edge_mass, (1 + 1.0 / 2 + 1.0 / 4 + 3.0 / 4) / 4);
}

TEST(Coverage, CountsTilesThatAreMaskedInPart) {
  const std::vector<double> five(5);
  EXPECT_EQ(coverage_of(reference_of("full", "single", 5, five, five), 2).tiles_partly_masked, 0);
  // Rows see 1 to 5 keys in tiles of 2, 2 and 1: the first and the third end inside a tile.
  EXPECT_EQ(coverage_of(reference_of("causal_top_left", "single", 5, five, five), 2).tiles_partly_masked, 2);
  // Keys 0; 0 1; 1 2; 2 3; 3 4 in tiles of 4, 1: both ends of a row may lie in the same tile.
  EXPECT_EQ(coverage_of(reference_of("window(1,0)", "single", 5, five, five), 4).tiles_partly_masked, 5);
}

TEST(Coverage, TellsKvHeadsApartByTheirValues) {
  const auto groups = [](const std::string& heads, const std::string& recipe, const std::string& memory) {
    return coverage_of(reference_of("fwd/fp32/b2." + heads + ".sq3.skv5.dqk4.dv4/full/scale0.5/" + recipe + ":1/" +
                                    memory + "/single"))
        .kv_groups;
  };
  EXPECT_EQ(groups("hq6.hkv3", "gauss", "bhsd"), 3);
  EXPECT_EQ(groups("hq6.hkv1", "gauss", "bhsd"), 1);
  EXPECT_EQ(groups("hq3.hkv3", "gauss", "bhsd"), 0);
  EXPECT_EQ(groups("hq6.hkv3", "walsh_probe", "bhsd"), 1);
  EXPECT_EQ(groups("hq6.hkv3", "gauss", "bhsd+broadcast_kv"), 1);
}

TEST(Coverage, SaysHowLopsidedMergesAre) {
  const double log3 = std::log(3.0);
  // Two ranks of two keys each: weights 2 and 6 of 8.
  const Reference two = reference_of("full", "contiguous2", 1, {0, 0, log3, log3}, {1, 1, 1, 1});
  expect_rounded(coverage_of(two).merge_dominance, 0.25);
  EXPECT_EQ(coverage_of(reference_of("full", "single", 1, {0, 0, log3, log3}, {1, 1, 1, 1})).merge_dominance, 0);
  // The second rank's keys are hidden from every row: nothing is merged.
  const Reference hidden = reference_of("causal_top_left", "contiguous2", 2, {0, 0, log3, log3}, {1, 1, 1, 1});
  EXPECT_EQ(coverage_of(hidden).merge_dominance, 0);
}

// 40 rows, 20 of either rank, which begin with their own key. Key 0 has the weight 3 / 4 and the value 4: the rows of
// rank 1 carry the greater leverage, and of the 40 elements it is the tenth largest that counts.
TEST(Coverage, SaysWhatMergesCouldLose) {
  const double log3 = std::log(3.0);
  const double granted = 2 + 3 * (std::log(4.0) + log3 + 20);
  const Reference reference = reference_of("full", "contiguous2", 40, {log3, 0}, {-4, 64});
  expect_rounded(coverage_of(reference).merge_leverage, 64 / ((3 * 4 + 64) / 4.0) / granted);
  // Of 18 rows only nine are rank 1's, and the tenth element is one of rank 0's.
  const Reference fewer = reference_of("full", "contiguous2", 18, {log3, 0}, {-4, 64});
  expect_rounded(coverage_of(fewer).merge_leverage, 4 / ((3 * 4 + 64) / 4.0) / granted);
  EXPECT_EQ(coverage_of(reference_of("full", "contiguous2", 9, {log3, 0}, {-4, 64})).merge_leverage, 0);
}

TEST(Coverage, CountsRowsByTheKeysTheySee) {
  const auto rows = [](const std::string& shape) {
    return coverage_of(reference_of("fwd/fp32/b1.hq1.hkv1." + shape +
                                    ".dqk4.dv4/causal_bottom_right/scale0.5/gauss:1/bhsd/single"))
        .rows_by_count;
  };
  EXPECT_EQ(rows("sq70.skv68"), (std::array<std::int64_t, 5>{2, 1, 63, 4, 0}));
  EXPECT_EQ(rows("sq2.skv1025"), (std::array<std::int64_t, 5>{0, 0, 0, 1, 1}));
  EXPECT_EQ(rows("sq0.skv9"), (std::array<std::int64_t, 5>{0, 0, 0, 0, 0}));
}

// O of longer rows drowns in their bound, whatever is rescaled there.
TEST(Coverage, LeavesLongRowsOutOfRescaling) {
  const auto line = [](int keys) {
    return "fwd/fp32/b1.hq1.hkv1.sq1.skv" + std::to_string(keys) + ".dqk8.dv4/full/scale0.5/ascending:1/bhsd/single";
  };
  EXPECT_GT(coverage_of(reference_of(line(1024))).rescale_mass, 0);
  EXPECT_EQ(coverage_of(reference_of(line(1025))).rescale_mass, 0);
}

TEST(Coverage, OfTwoCasesIsTheGreaterOfEachMeasure) {
  const Coverage one{0.5, 0.1, 2, 1, 0.4, 7, {1, 2, 3, 4, 5}}, other{0.1, 0.3, 1, 3, 0.2, 9, {1, 0, 0, 0, 1}};
  const Coverage sum = both(one, other);
  EXPECT_EQ(sum.rescale_mass, 0.5);
  EXPECT_EQ(sum.edge_mass, 0.3);
  EXPECT_EQ(sum.tiles_partly_masked, 3);
  EXPECT_EQ(sum.kv_groups, 3);
  EXPECT_EQ(sum.merge_dominance, 0.4);
  EXPECT_EQ(sum.merge_leverage, 9);
  EXPECT_EQ(sum.rows_by_count, (std::array<std::int64_t, 5>{2, 2, 3, 4, 6}));
}

}  // namespace
}  // namespace ringproof

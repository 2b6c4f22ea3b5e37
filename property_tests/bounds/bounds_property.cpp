// Goal: no kernel that keeps to its declared Arithmetic leaves the deterministic bound, and some kernel comes close to
// it. Method: simulated kernels with controlled rounding on 20,000 drawn Cases; then hill climbing on the inputs and on
// the direction of every rounding, which drives error / bound up until nothing improves it.

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <map>

#include "property_tests/bounds/simulated_draws.h"
#include "property_tests/bounds/worst_search.h"
#include "reference/spec/arithmetic.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr std::uint64_t kDraws = 20'000;

std::string words_of(const SimulatedDraw& draw) {
  std::string text = "'" + to_string(draw.c) + "', " + to_string(draw.kernel);
  for (const std::string& field : looser_than_default(draw.kernel.arithmetic, draw.c.problem.dtype))
    text += ", " + field;
  return text;
}

// In quarters, so that a machine with several cores runs them side by side.
class AQuarterOfTheDraws : public testing::TestWithParam<std::uint64_t> {};

TEST_P(AQuarterOfTheDraws, StaysInsideTheDeterministicBound) {
  std::map<Dtype, BoundsUsed> largest;
  std::uint64_t count = 0;
  for (std::uint64_t number = GetParam(); number < kDraws; number += 4, ++count) {
    const SimulatedDraw draw = simulated_draw(number);
    const Reference reference = prepare(draw.c, 1);
    const Bounds bounds = bound_forward(draw.c, draw.kernel.arithmetic, reference.want);
    const BoundsUsed used = bounds_used(simulate(draw.kernel, reference), reference.want, bounds);
    EXPECT_LE(used.out, 1) << "draw " << number << ": " << words_of(draw);
    EXPECT_LE(used.lse, 1) << "draw " << number << ": " << words_of(draw);
    BoundsUsed& of_dtype = largest[draw.c.problem.dtype];
    of_dtype = {std::max(of_dtype.out, used.out), std::max(of_dtype.lse, used.lse)};
  }
  EXPECT_EQ(count, kDraws / 4);
  for (const auto& [dtype, used] : largest) {
    std::cout << to_string(dtype) << ": bound used " << used.out << " of out, " << used.lse << " of lse\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Draws, AQuarterOfTheDraws, testing::Values(0, 1, 2, 3));

class ASearchForTheWorst : public testing::TestWithParam<Dtype> {};

TEST_P(ASearchForTheWorst, ComesHalfWayToTheBoundAndNeverBeyond) {
  BoundsUsed largest;
  for (std::uint64_t start = 0; start < 60; ++start) {
    const WorstFound found = search_worst(small_start(GetParam(), start), start, 300);
    EXPECT_LE(found.used.out, 1) << found.words;
    EXPECT_LE(found.used.lse, 1) << found.words;
    largest = {std::max(largest.out, found.used.out), std::max(largest.lse, found.used.lse)};
  }
  std::cout << to_string(GetParam()) << ": bound used " << largest.out << " of out, " << largest.lse << " of lse\n";
  EXPECT_GE(std::max(largest.out, largest.lse), 0.5) << "a bound that nobody can approach is too wide";
}

INSTANTIATE_TEST_SUITE_P(Storages, ASearchForTheWorst, testing::Values(Dtype::kF32, Dtype::kF16, Dtype::kBf16),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace ringproof

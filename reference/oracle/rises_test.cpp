#include "reference/oracle/rises.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace ringproof {
namespace {

using Scores = std::vector<double>;

// Every sequence of `length` scores out of 0, 1, 2, 3.
std::vector<Scores> all_sequences(int length) {
  std::vector<Scores> all;
  for (int code = 0; code < 1 << (2 * length); ++code) {
    Scores scores;
    for (int i = 0; i < length; ++i) scores.push_back((code >> (2 * i)) & 3);
    all.push_back(scores);
  }
  return all;
}

// How often the maximum rises strictly after the first key.
std::int64_t strict_rises(const Scores& scores) {
  std::int64_t rises = 0;
  for (std::size_t i = 1; i < scores.size(); ++i) {
    rises += scores[i] > *std::max_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return rises;
}

std::int64_t rises_either_way(Scores scores) {
  const std::int64_t ascending = strict_rises(scores);
  std::reverse(scores.begin(), scores.end());
  return std::max(ascending, strict_rises(scores));
}

std::int64_t rises_of_any_part(const Scores& scores) {
  std::int64_t most = 0;
  for (auto begin = scores.begin(); begin != scores.end(); ++begin) {
    for (auto end = std::next(begin);; ++end) {
      most = std::max(most, rises_either_way(Scores(begin, end)));
      if (end == scores.end()) break;
    }
  }
  return most;
}

TEST(Rises, OfExactScoresAreThoseOfTheirDefinition) {
  for (int length = 0; length <= 6; ++length) {
    for (const Scores& scores : all_sequences(length)) {
      const Rises rises = count_rises(scores, 0);
      ASSERT_EQ(rises.monotone, rises_either_way(scores)) << testing::PrintToString(scores);
      ASSERT_EQ(rises.any_split, rises_of_any_part(scores)) << testing::PrintToString(scores);
    }
  }
}

// Every score moves by at most half of near_tie = 1.
TEST(Rises, CoverEveryWayRoundedScoresMayComeOut) {
  for (const Scores& scores : all_sequences(5)) {
    const Rises rises = count_rises(scores, 1);
    for (int signs = 0; signs < 32; ++signs) {
      Scores rounded = scores;
      for (int i = 0; i < 5; ++i) rounded[static_cast<std::size_t>(i)] += (signs >> i) & 1 ? 0.5 : -0.5;
      ASSERT_LE(rises_either_way(rounded), rises.monotone) << testing::PrintToString(rounded);
      ASSERT_LE(rises_of_any_part(rounded), rises.any_split) << testing::PrintToString(rounded);
    }
  }
}

TEST(Rises, KeyByKeyCoverEveryTileSize) {
  for (const Scores& scores : all_sequences(6)) {
    const Rises rises = count_rises(scores, 0);
    for (std::size_t tile = 1; tile <= 6; ++tile) {
      Scores maxima;
      for (std::size_t begin = 0; begin < scores.size(); begin += tile) {
        const std::size_t end = std::min(begin + tile, scores.size());
        maxima.push_back(*std::max_element(&scores[begin], &scores[begin] + (end - begin)));
      }
      ASSERT_LE(rises_either_way(maxima), rises.monotone) << testing::PrintToString(scores) << " tile " << tile;
    }
  }
}

TEST(Rises, EqualScoresCountWhereTheyMayRoundDifferently) {
  const Scores equal(5, 2.0);
  EXPECT_EQ(count_rises(equal, 0).monotone, 0);
  EXPECT_EQ(count_rises(equal, 1e-6).monotone, 4);
  EXPECT_EQ(count_rises(equal, 1e-6).any_split, 4);
}

TEST(NearTie, IsNothingWhereEveryProductIsNothing) {
  EXPECT_EQ(near_tie(64, 0.125, 0, 30), 0);
  EXPECT_EQ(near_tie(62, -0.5, 3, 0), 4 * 64 * 0x1p-24 * 0.5 * 3);
  EXPECT_EQ(near_tie(62, -0.5, 3, 5), (4 * 64 * 0.5 * 3 + 32 * 5) * 0x1p-24);
}

}  // namespace
}  // namespace ringproof

#include "reference/oracle/fast/longest_chains.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "reference/oracle/rises.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What count_rises says of chains alone: it takes the larger of them and the rises of the running maximum.
void expect_chains(const std::vector<double>& scores, double near_tie, std::int64_t got) {
  const Rises want = count_rises(scores, near_tie);
  EXPECT_EQ(std::max(want.monotone, got), want.any_split) << scores.size() << " keys, near tie " << near_tie;
}

TEST(LongestChains, AreThoseOfCountRises) {
  std::uint32_t bits = 1;
  std::vector<double> stack;
  for (const std::int64_t levels : {1, 3, 40, 100000}) {
    for (const double near_tie : {0.0, 1.0, 2.5}) {
      for (std::int64_t count = 1; count < 200; count += count < 20 ? 1 : 61) {
        std::array<std::vector<double>, kRowsTogether> padded;
        std::array<ScoreRow, kRowsTogether> rows;
        for (std::size_t r = 0; r < kRowsTogether; ++r) {
          const std::int64_t own = count + static_cast<std::int64_t>(r) * 3;
          padded[r].push_back(-kInfinity);
          for (std::int64_t i = 0; i < own; ++i) {
            bits = bits * 1664525u + 1013904223u;
            padded[r].push_back(static_cast<double>((bits >> 8) % levels));
          }
          padded[r].push_back(-kInfinity);
          rows[r] = {padded[r].data() + 1, own, near_tie};
        }
        const auto got = longest_chains(rows, stack);
        for (std::size_t r = 0; r < kRowsTogether; ++r) {
          expect_chains({padded[r].begin() + 1, padded[r].end() - 1}, near_tie, got[r]);
        }
      }
    }
  }
}

TEST(LongestChains, AreAsLongAsAMonotoneRow) {
  std::vector<double> falling{-kInfinity}, rising{-kInfinity}, stack;
  for (int i = 0; i < 50; ++i) rising.push_back(i), falling.push_back(-i);
  rising.push_back(-kInfinity), falling.push_back(-kInfinity);
  const auto got = longest_chains({ScoreRow{rising.data() + 1, 50, 0}, ScoreRow{falling.data() + 1, 50, 0}}, stack);
  EXPECT_EQ(got[0], 49);
  EXPECT_EQ(got[1], 49);
}

}  // namespace
}  // namespace ringproof

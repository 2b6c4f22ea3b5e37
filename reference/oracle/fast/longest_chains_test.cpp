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

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What count_rises says of chains alone: it takes the larger of them and the rises of the running maximum, and does not
// count the first score.
void expect_chains(const std::vector<float>& scores, double near_tie, std::int64_t forth, std::int64_t back) {
  const std::vector<double> wide(scores.begin(), scores.end());
  const Rises want = count_rises(wide, near_tie);
  EXPECT_EQ(std::max({want.monotone, forth - 1, back - 1}), want.any_split)
      << scores.size() << " keys, near tie " << near_tie;
}

TEST(LongestChains, AreThoseOfCountRises) {
  std::uint32_t bits = 1;
  std::vector<float> stack;
  for (const std::int64_t levels : {1, 3, 40, 100000}) {
    for (const float near_tie : {0.0f, 1.0f, 2.5f}) {
      for (std::int64_t count = 1; count < 200; count += count < 20 ? 1 : 61) {
        std::array<std::vector<float>, kRunsTogether / 2> padded;
        std::array<ScoreRun, kRunsTogether> runs;
        for (std::size_t r = 0; r < padded.size(); ++r) {
          const std::int64_t own = count + static_cast<std::int64_t>(r) * 3;
          padded[r].push_back(-kInfinity);
          for (std::int64_t i = 0; i < own; ++i) {
            bits = bits * 1664525u + 1013904223u;
            padded[r].push_back(static_cast<float>((bits >> 8) % levels));
          }
          padded[r].push_back(-kInfinity);
          runs[2 * r] = {padded[r].data() + 1, own, 1, near_tie};
          runs[2 * r + 1] = {padded[r].data() + own, own, -1, near_tie};
        }
        const auto got = longest_chains(runs, stack);
        for (std::size_t r = 0; r < padded.size(); ++r) {
          expect_chains({padded[r].begin() + 1, padded[r].end() - 1}, near_tie, got[2 * r], got[2 * r + 1]);
        }
      }
    }
  }
}

TEST(LongestChains, AreAsLongAsAMonotoneRun) {
  std::vector<float> falling{-kInfinity}, rising{-kInfinity}, stack;
  for (int i = 0; i < 50; ++i) {
    rising.push_back(static_cast<float>(i));
    falling.push_back(static_cast<float>(-i));
  }
  rising.push_back(-kInfinity), falling.push_back(-kInfinity);
  const auto got = longest_chains({ScoreRun{rising.data() + 1, 50, 1, 0}, ScoreRun{rising.data() + 50, 50, -1, 0},
                                   ScoreRun{falling.data() + 1, 50, 1, 0}, ScoreRun{falling.data() + 51, 0, 1, 0}},
                                  stack);
  EXPECT_EQ(got, (std::array<std::int64_t, kRunsTogether>{1, 50, 50, 0}));
}

}  // namespace
}  // namespace ringproof

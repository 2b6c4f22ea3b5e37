#include "reference/oracle/fast/rises_of_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "reference/oracle/fast/targets_test.h"

namespace ringproof {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<double> shown(const std::vector<float>& scores) {
  std::vector<double> all;
  for (const float score : scores) {
    if (score > -kInfinity) all.push_back(score);
  }
  return all;
}

std::vector<float> scores_of(std::int64_t count, std::int64_t levels, std::int64_t hidden_in, std::uint32_t& bits) {
  std::vector<float> scores;
  for (std::int64_t i = 0; i < count; ++i) {
    bits = bits * 1664525u + 1013904223u;
    const bool is_hidden = hidden_in > 0 && (bits >> 20) % hidden_in == 0;
    scores.push_back(is_hidden ? -kInfinity : static_cast<float>((bits >> 8) % levels));
  }
  scores.resize(static_cast<std::size_t>((count + kThinnedKeys - 1) / kThinnedKeys * kThinnedKeys), -kInfinity);
  return scores;
}

// The most rises any start sees, by trying all.
std::int64_t any_start(const std::vector<double>& scores, double near_tie) {
  std::int64_t most = 0;
  for (std::size_t start = 0; start < scores.size(); ++start) {
    double largest = scores[start];
    std::int64_t rises = 0;
    for (std::size_t i = start + 1; i < scores.size(); ++i) {
      rises += scores[i] > largest - near_tie;
      largest = std::max(largest, scores[i]);
    }
    most = std::max(most, rises);
  }
  return most;
}

void expect_rises(const Rises& got, const std::vector<double>& scores, double near_tie, bool is_exact) {
  const Rises want = count_rises(scores, near_tie);
  std::vector<double> reversed(scores.rbegin(), scores.rend());
  const std::int64_t any = std::max(any_start(scores, near_tie), any_start(reversed, near_tie));
  if (is_exact) {
    EXPECT_EQ(got.monotone, want.monotone);
    EXPECT_LE(got.any_split, want.any_split + (scores.size() <= 400 ? 0 : kThinnedKeys));
  }
  EXPECT_GE(got.monotone, want.monotone);
  EXPECT_GE(got.any_split, any);
}

TEST(RisesOfRow, AreExactInOnePieceAndNeverTooFewInSeveral) {
  on_every_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const PanelKernels kernels = panel_kernels();
    RisesScratch scratch;
    std::uint32_t bits = 7;
    for (const std::int64_t levels : {1, 3, 40, 100000}) {
      for (const float near_tie : {0.0f, 1.0f, 2.5f}) {
        for (const std::int64_t count : {1, 15, 16, 17, 100, 600}) {
          for (const std::int64_t hidden_in : {0, 5}) {
            const std::vector<float> one = scores_of(count, levels, hidden_in, bits),
                                     two = scores_of(count + 3, levels, hidden_in, bits);
            const auto of = [&](const std::vector<float>& scores) {
              return Piece{scores.data(), static_cast<std::int64_t>(scores.size()), near_tie};
            };
            const auto pieces = count_pieces(kernels, {of(one), of(two)}, scratch);
            expect_rises(rises_of(std::vector{pieces[0]}, near_tie), shown(one), near_tie, true);
            expect_rises(rises_of(std::vector{pieces[1]}, near_tie), shown(two), near_tie, true);
            std::vector<double> both = shown(one);
            for (const double score : shown(two)) both.push_back(score);
            expect_rises(rises_of(pieces, near_tie), both, near_tie, false);
          }
        }
      }
    }
  });
}

TEST(RisesOfRow, AreNoneWithoutKeys) {
  const std::vector<float> hidden(kThinnedKeys, -kInfinity);
  RisesScratch scratch;
  const Piece piece{hidden.data(), kThinnedKeys, 0};
  const auto pieces = count_pieces(panel_kernels(), {piece, Piece{hidden.data(), 0, 0}}, scratch);
  for (const PieceRises& one : pieces) {
    EXPECT_EQ(rises_of(std::vector{one}, 0).monotone, 0);
    EXPECT_EQ(rises_of(std::vector{one}, 0).any_split, 0);
  }
  EXPECT_EQ(rises_of({}, 0).any_split, 0);
}

}  // namespace
}  // namespace ringproof

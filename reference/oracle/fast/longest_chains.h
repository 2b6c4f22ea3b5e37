#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ringproof {

/// Runs whose chains are counted together.
inline constexpr std::size_t kRunsTogether = 4;

/// Scores first, first + step, ... (step 1 or -1), with -inf after the last; the scores themselves are finite.
struct ScoreRun {
  const float* first = nullptr;
  std::int64_t count = 0;
  std::int64_t step = 1;
  float near_tie = 0;
};

/// For each run the longest chain of next-greater scores seen against its direction: the largest stack that a scan
/// keeps when a score drops what lies at or below it less near_tie (rises.cpp). At the speed of arithmetic instead of
/// mispredicted branches. `stack` is scratch.
std::array<std::int64_t, kRunsTogether> longest_chains(const std::array<ScoreRun, kRunsTogether>& runs,
                                                       std::vector<float>& stack);

}  // namespace ringproof

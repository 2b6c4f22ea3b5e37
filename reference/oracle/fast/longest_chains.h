#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ringproof {

/// Rows whose chains are counted together.
inline constexpr std::size_t kRowsTogether = 2;

/// One row's scores with -inf before the first and after the last; the scores themselves are finite.
struct ScoreRow {
  const double* first = nullptr;
  std::int64_t count = 0;  ///< at least 1
  double near_tie = 0;
};

/// For each row what count_rises counts as chains of next-greater keys, the longer of both directions, at the speed of
/// arithmetic instead of mispredicted branches. `stack` is scratch.
std::array<std::int64_t, kRowsTogether> longest_chains(const std::array<ScoreRow, kRowsTogether>& rows,
                                                       std::vector<double>& stack);

}  // namespace ringproof

// The stack of rises.cpp as a machine without branches: a step either drops the top (it lies at or below x - tie) or
// pushes x and goes on to the next key, and the choice is arithmetic. n keys take at most 2 n steps. A step waits for
// the one before, so a few rows run in both directions side by side. +inf lies at the bottom of each stack and is never
// dropped; -inf behind the last key is never pushed, so a machine that is done stands still.

#include "reference/oracle/fast/longest_chains.h"

#include <algorithm>
#include <limits>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kMachines = 2 * kRowsTogether;

struct Machine {
  const double* at;
  double* top;
  double* longest;
};

// One step; kStep is +1 along the keys and -1 against them.
template <std::int64_t kStep>
inline void step(Machine& machine, double near_tie) {
  const double x = *machine.at;
  const std::int64_t pop = *machine.top <= x - near_tie, push = (x > -kInfinity) & (pop ^ 1);
  machine.top[kMachines] = x;
  machine.top += (push - pop) * kMachines;
  machine.at += push * kStep;
  machine.longest = std::max(machine.longest, machine.top);
}

}  // namespace

std::array<std::int64_t, kRowsTogether> longest_chains(const std::array<ScoreRow, kRowsTogether>& rows,
                                                       std::vector<double>& stack) {
  std::int64_t count = 0;
  for (const ScoreRow& row : rows) count = std::max(count, row.count);
  stack.resize(static_cast<std::size_t>((count + 2) * kMachines));
  std::fill_n(stack.begin(), kMachines, kInfinity);
  std::array<Machine, kRowsTogether> forth, back;
  for (std::size_t r = 0; r < kRowsTogether; ++r) {
    double* const bottom = stack.data() + 2 * r;
    forth[r] = {rows[r].first, bottom, bottom};
    back[r] = {rows[r].first + rows[r].count - 1, bottom + 1, bottom + 1};
  }
  for (std::int64_t i = 0; i < 2 * count; ++i) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRowsTogether; ++r) {
      step<1>(forth[r], rows[r].near_tie);
      step<-1>(back[r], rows[r].near_tie);
    }
  }
  std::array<std::int64_t, kRowsTogether> longest;
  for (std::size_t r = 0; r < kRowsTogether; ++r) {
    const double* const bottom = stack.data() + 2 * r;
    longest[r] = std::max(forth[r].longest - bottom, back[r].longest - bottom - 1) / kMachines - 1;
  }
  return longest;
}

}  // namespace ringproof

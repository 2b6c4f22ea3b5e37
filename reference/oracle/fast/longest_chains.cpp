// The stack of rises.cpp as a machine without branches: a step either drops the top (it lies at or below x - tie) or
// pushes x and goes on to the next score, and the choice is arithmetic. n scores take at most 2 n steps. A step waits
// for the one before, so a few runs go side by side. +inf lies at the bottom of each stack and is never dropped; -inf
// behind the last score is never pushed, so a machine that is done stands still.

#include "reference/oracle/fast/longest_chains.h"

#include <algorithm>
#include <limits>

namespace ringproof {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kMachines = kRunsTogether;

struct Machine {
  const float* at;
  float* top;
  float* longest;
  std::int64_t direction;
  float near_tie;
};

inline void step(Machine& machine) {
  const float x = *machine.at;
  const std::int64_t pop = *machine.top <= x - machine.near_tie, push = (x > -kInfinity) & (pop ^ 1);
  machine.top[kMachines] = x;
  machine.top += (push - pop) * kMachines;
  machine.at += push * machine.direction;
  machine.longest = std::max(machine.longest, machine.top);
}

}  // namespace

std::array<std::int64_t, kRunsTogether> longest_chains(const std::array<ScoreRun, kRunsTogether>& runs,
                                                       std::vector<float>& stack) {
  std::int64_t count = 0;
  for (const ScoreRun& run : runs) count = std::max(count, run.count);
  stack.resize(static_cast<std::size_t>((count + 2) * kMachines));
  std::fill_n(stack.begin(), kMachines, kInfinity);
  std::array<Machine, kRunsTogether> machines;
  for (std::size_t r = 0; r < kRunsTogether; ++r) {
    float* const bottom = stack.data() + r;
    machines[r] = {runs[r].first, bottom, bottom, runs[r].step, runs[r].near_tie};
  }
  for (std::int64_t i = 0; i < 2 * count; ++i) {
#pragma GCC unroll 4
    for (Machine& machine : machines) step(machine);
  }
  std::array<std::int64_t, kRunsTogether> longest;
  for (std::size_t r = 0; r < kRunsTogether; ++r) {
    longest[r] = (machines[r].longest - (stack.data() + static_cast<std::ptrdiff_t>(r))) / kMachines;
  }
  return longest;
}

}  // namespace ringproof

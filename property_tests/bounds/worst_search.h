#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "property_tests/bounds/simulated_draws.h"

namespace ringproof {

/// What the search ended with.
struct WorstFound {
  BoundsUsed used;
  std::string words;  ///< kernel, declared fields and inputs of the largest ratio
  Reference reference;
  SimulatedKernel kernel;
};

/// What is held against simulated kernels: bound_forward, or an edited copy of it.
using BoundForward = std::function<Bounds(const Case&, const Arithmetic&, const ForwardAnswer&)>;

/// Climbs from `start`, `steps` times: another value of one input, another direction of some roundings, another tile;
/// kept when the larger of both ratios does not fall. `seed` chooses the steps.
WorstFound search_worst(const SimulatedDraw& start, std::uint64_t seed, int steps,
                        const BoundForward& bound = bound_forward);

/// A small start for it: one row, one head, at most 12 keys, a kernel whose every rounding errs in full.
SimulatedDraw small_start(Dtype storage, std::uint64_t number);

}  // namespace ringproof

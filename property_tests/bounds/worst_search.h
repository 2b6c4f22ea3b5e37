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

/// Climbs from a drawn start, `steps` times: another value of one input, another direction of some roundings, another
/// tile; kept when the larger of both ratios does not fall. One row, one head, at most 12 keys.
WorstFound search_worst(Dtype storage, std::uint64_t start, int steps, const BoundForward& bound = bound_forward);

}  // namespace ringproof

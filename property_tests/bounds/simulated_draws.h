#pragma once

#include <cstdint>
#include <string>

#include "reference/judge/bound_forward.h"
#include "reference/judge/simulated_kernel_test.h"
#include "reference/spec/case.h"

namespace ringproof {

/// A simulated kernel on a Case: what a bound of the forward pass is held against.
struct SimulatedDraw {
  Case c;
  SimulatedKernel kernel;
};

/// The draw of that number: every dtype, mask, recipe, rings of 1 to 8 ranks, and every field of Arithmetic. Small:
/// one batch, at most 2 heads and 4 rows.
SimulatedDraw simulated_draw(std::uint64_t number);

/// The kernel in words, for a failure.
std::string to_string(const SimulatedKernel& kernel);

/// Where an answer comes closest to its bounds, or leaves them.
struct BoundsUsed {
  double out = 0, lse = 0;  ///< largest error / bound; +inf where an error stands against no bound
};

/// Holds an answer against bounds. Elements whose bound is +inf count as 0.
BoundsUsed bounds_used(const SimulatedAnswer& got, const ForwardAnswer& want, const Bounds& bounds);

}  // namespace ringproof

#pragma once

#include <cstdint>

#include "reference/spec/inputs.h"

namespace ringproof {

/// Turns the gauss draws in `inputs` into those of the recipe special (the formula stands in special_inputs.cpp).
/// `broadcast_kv`: every head of K and V holds what head 0 holds.
void make_special(const Problem& problem, std::uint64_t seed, bool broadcast_kv, Inputs& inputs);

}  // namespace ringproof

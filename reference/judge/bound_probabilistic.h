#pragma once

#include <cstdint>

#include "reference/judge/bound_forward.h"

namespace ringproof {

/// The bound that errors of a candidate with the declared `arithmetic` (resolved) exceed with a probability below
/// 1e-6 / `tensors_in_run` in a whole tensor, if its roundings of P to nearest are uniform and mean-independent, and
/// those of its sums mean-independent (judgement.md, check 3). At most `deterministic`, element by element, and +inf
/// where that is and nothing else can be said. Whether roundings are independent is the caller's to know
/// (independent.h); where they are not, this bound is no promise. Requires tensors_in_run >= 1.
Bounds bound_probabilistic(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want,
                           const Bounds& deterministic, std::int64_t tensors_in_run);

}  // namespace ringproof

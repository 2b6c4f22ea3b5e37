#pragma once

#include "reference/judge/bound_forward.h"

namespace ringproof {

/// True where walsh_probe's sharp bound applies: that recipe, fewer than 2^24 keys, accumulators of 24 bits or more
/// that round to nearest, P not normalised before its cast, no sink, exp within 5 u (which stands for exp(0) = 1).
/// Requires a resolved Arithmetic.
bool walsh_bound_holds(const Case& c, const Arithmetic& arithmetic);

/// The bound of walsh_probe: without merges an exact 0 must come back as 0. Requires walsh_bound_holds.
Bounds bound_walsh(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want);

}  // namespace ringproof

#pragma once

#include "reference/judge/bound_forward.h"

namespace ringproof {

/// How far the oracle's own O and lse may lie from the exact answer, per element; added to every bound, and
/// what the oracle itself is held to by golden/. In units of the answer, not relative.
Bounds oracle_error(const Problem& problem, const ForwardAnswer& want);

}  // namespace ringproof

#pragma once

#include "reference/judge/bound_forward.h"

namespace ringproof {

/// How far O and lse of fast_attention_forward may lie from the exact answer, per element, as oracle_error says it of
/// the plain oracle. Requires an answer of that function (its statistics are upper bounds) and a storage narrower than
/// fp64; where it handed over to the plain oracle, whose error is smaller, this holds too.
Bounds fast_oracle_error(const Problem& problem, const ForwardAnswer& want);

}  // namespace ringproof

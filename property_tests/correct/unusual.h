#pragma once

#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof {

/// Correct kernels of unusual make, one file each: other orders of keys and sums, other exponentials, other formats
/// inside, fewer claims. Each declares its Arithmetic; none may be rejected on any Case.
std::vector<Candidate> unusual_candidates();

/// Correct kernels under a declaration so loose that the judge could not tell many faults from it (an exponential that
/// may be off by a twentieth): inconclusive on every Case, never accepted, never rejected.
std::vector<Candidate> loosely_declared_candidates();

/// A correct kernel for fp32 storage whose operands and P are TF32, declared: accepted by that, but inconclusive where
/// scores of thousands leave such operands nothing to promise.
Candidate tf32_candidate();

}  // namespace ringproof

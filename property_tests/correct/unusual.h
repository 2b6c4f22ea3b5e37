#pragma once

#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof {

/// Correct kernels of unusual make, one file each: other orders of keys and sums, other exponentials, other formats
/// inside, fewer claims. Each declares its Arithmetic; none may be rejected on any Case.
std::vector<Candidate> unusual_candidates();

/// Correct kernels under a declaration so loose that the judge could not tell many faults from it (TF32 operands for
/// fp32 storage): inconclusive on every Case, never accepted, never rejected.
std::vector<Candidate> loosely_declared_candidates();

}  // namespace ringproof

#pragma once

#include <vector>

#include "distributed/communicator.h"
#include "reference/spec/candidate.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// The double reference as a local step: partial attention in double, fp64 partials, every storage dtype but fp8.
LocalStep double_step();

/// Attention over ranks, for the gate: `ring:double` and `ring:flash_forward_fp32`, on threads.
std::vector<Candidate> distributed_candidates();

}  // namespace ringproof

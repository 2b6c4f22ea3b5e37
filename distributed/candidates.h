#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "distributed/double_step.h"
#include "distributed/ring_candidate.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// `naive_ring` on threads (naive_ring.h): a specimen, not for the gate's own list.
Candidate naive_ring();

/// The candidate of this name with its ranks simulated (simulated_ranks.h); the candidate itself if it has none.
Candidate simulated(const Candidate& candidate, std::uint64_t seed, std::chrono::milliseconds deadline);

/// What attention over ranks is composed of, a composition per local step.
std::vector<RingComposition> ring_compositions();

/// Attention over ranks, for the gate: `ring:double` and `ring:flash_forward_fp32`, on threads.
std::vector<Candidate> distributed_candidates();

}  // namespace ringproof

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

/// Those whose local steps run on a device, `ring:NAME:cuda`: over NCCL alone, whose memory host and device both reach.
/// Merges run on the host, in the order of the stream. None in a build without CUDA.
std::vector<RingComposition> device_ring_compositions();

/// Attention over ranks, for the gate, on threads: a candidate per local step on the host.
std::vector<Candidate> distributed_candidates();

/// A candidate per local step on a device, not run here: a transport over NCCL replaces it.
std::vector<Candidate> device_ring_candidates();

}  // namespace ringproof

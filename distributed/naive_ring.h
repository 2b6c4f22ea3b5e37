#pragma once

#include "distributed/ring_candidate.h"

namespace ringproof {

/// `naive_ring`: ring attention as a much-read listing has it, kept as a specimen for the judge. It is right where no
/// block is hidden from a row as a whole, and leaves NaN where one is; docs/naive_ring.md tells why. fp32, schedules
/// single and contiguous, masks full and causal; its scale is 1 / sqrt(d) whatever the Case says. It runs only when
/// named.
Candidate naive_ring_candidate(const Launcher& launcher);

}  // namespace ringproof

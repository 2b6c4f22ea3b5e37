#pragma once

#include <cstdint>
#include <string>

#include "distributed/communicator.h"
#include "distributed/ring.h"
#include "reference/spec/candidate.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// What attention over ranks is composed of. An edited copy of ring.cpp, ring_plan.cpp or merge.cpp takes part by
/// standing in `forward` or in `parts`; a ring on another transport by its launcher.
struct RingComposition {
  std::string name;  ///< `ring:<local step>`
  LocalStep local_step;
  std::uint32_t claims =
      0;  ///< features of the local step beyond those of every ring: kNanSafeUnseen, kNanSafeHidden, ...
  RingForward forward = ring_forward;
  RingParts parts;
  Launcher launcher;
};

/// A Candidate that runs single (one rank, no transport) and every ring schedule, masks full, causal and window,
/// forward. Its Arithmetic is the local step's; merges are those of the topology, in the local step's partial dtype.
Candidate ring_candidate(const RingComposition& composition);

}  // namespace ringproof

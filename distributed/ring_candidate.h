#pragma once

#include <cstdint>
#include <string>

#include "distributed/all_gather.h"
#include "distributed/communicator.h"
#include "distributed/head_split.h"
#include "distributed/ring.h"
#include "reference/spec/candidate.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// What attention over ranks is composed of. An edited copy of an algorithm takes part by standing in its place, one of
/// ring_plan.cpp or merge.cpp in `parts`, another transport by its launcher.
struct RingComposition {
  std::string name;  ///< `ring:<local step>`
  LocalStep local_step;
  std::uint32_t claims =
      0;  ///< features of the local step beyond those of every ring: kNanSafeUnseen, kNanSafeHidden, ...
  RanksForward ring = ring_forward;
  RingParts parts;
  Launcher launcher;
  RanksForward head_split = head_split_forward;  ///< of hybrids too
  RanksForward all_gather = all_gather_forward;
};

/// One rank's part of a call: runs the algorithm of the problem's topology, or kUnsupported. The ranks make the same
/// calls; `case_id` names a call on all of them. Into `report`, where not null: what it did, beside traffic_formula().
Status forward_on(const RingComposition& composition, Communicator& communicator, std::uint64_t case_id,
                  const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                  const TensorView& out, const TensorView* lse, RankReport* report = nullptr);

/// A Candidate that runs every schedule (single is one rank, no transport), every mask (block_sparse where the local
/// step takes blocks), forward. Its Arithmetic is the local step's; merges are those of the topology, in the local
/// step's partial dtype. It tells what its ranks did beside the formulas.
Candidate ring_candidate(const RingComposition& composition);

}  // namespace ringproof

#pragma once

#include <string>

#include "distributed/ring_candidate.h"
#include "gpu/kernels.h"
#include "property_tests/mutants/mutants.h"
#include "property_tests/mutants/specimen_flash.h"

/// From an edited function to a Mutant: the candidate of the specimen with that one function in its place.
/// Called by the registry that mutate.py writes.
namespace ringproof {

/// What a .mutant file says at its head.
struct MutantFacts {
  std::string name, imitates, source, specimen;
  bool ends_in_error;
  std::int64_t head_dim_max = 0;  ///< of a copy that holds one cut of its kernel; 0: as the specimen
};

/// An edited kernel of gpu/, or one whose shared header is edited. Specimen: the kernel's name.
Mutant kernel_mutant(const MutantFacts& facts, FlashLaunch* edited);

/// An edited specimen_flash.cpp. Specimen `specimen_flash`.
Mutant flash_mutant(const MutantFacts& facts, decltype(&specimen_flash_forward) edited);

/// An edited distributed/ring.cpp, ring_plan.cpp or merge.cpp. Specimen `ring:double` or
/// `ring:flash_forward_fp32`.
Mutant ring_mutant(const MutantFacts& facts, RanksForward edited);
Mutant plan_mutant(const MutantFacts& facts, RingPlan edited);
Mutant merge_mutant(const MutantFacts& facts, Merge edited);

/// An edited head_split.cpp, head_split_plan.cpp or all_gather.cpp, of the same specimens.
Mutant head_split_mutant(const MutantFacts& facts, RanksForward edited);
Mutant head_split_plan_mutant(const MutantFacts& facts, HeadSplitPlanner edited);
Mutant all_gather_mutant(const MutantFacts& facts, RanksForward edited);

}  // namespace ringproof

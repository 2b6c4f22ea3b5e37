#include "property_tests/mutants/compose.h"

#include <chrono>
#include <span>

#include "distributed/candidates.h"
#include "distributed/communicator_threads.h"
#include "distributed/simulated_ranks.h"
#include "gpu/candidates.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// A mutant that never answers is detected soon; its Cases take milliseconds.
constexpr std::chrono::milliseconds kDeadline{5'000};

template <class Named>
Named named(const std::vector<Named>& list, const std::string& name) {
  for (const Named& one : list) {
    if (one.name == name) return one;
  }
  assert_that(false, "a mutant names a specimen that exists");
  return {};
}

Candidate specimen_flash_of(const std::string& name, decltype(&specimen_flash_forward) forward) {
  Candidate candidate;
  candidate.name = name;
  candidate.describe = [](Dtype asked, Direction) {
    Description description;
    description.dtypes = bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16) | bit_of(Dtype::kF8E4m3) |
                         bit_of(Dtype::kF8E5m2);
    description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                        bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow) | bit_of(MaskKind::kDocument) |
                        bit_of(MaskKind::kBlockSparse);
    description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                           kEmptyRowsDefined | kNonPositiveScale | kBatchInvariant | kSoftcap | kSink;
    if (is_fp8(asked)) description.arithmetic.p_scale = kPScaleOfFp8;
    return description;
  };
  candidate.forward = [forward](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                const TensorView& out, const TensorView* lse, void*) {
    const Tensor unasked(dtype_of_lse(problem.dtype), problem.shape_lse());
    forward(problem, q, k, v, out, lse != nullptr ? *lse : unasked.view());
    return Status::kOk;
  };
  return candidate;
}

Mutant mutant_of(const MutantFacts& facts, const Candidate& specimen, Candidate candidate) {
  candidate.name = "mutant:" + facts.name;
  return {facts.name, facts.imitates, facts.source, facts.ends_in_error, specimen, candidate, {}};
}

// `edit` puts the edited function into the composition of the specimen.
template <class Edit>
Mutant composed_ring(const MutantFacts& facts, const Edit& edit) {
  const std::string step_name = facts.specimen.substr(facts.specimen.find(':') + 1);
  RingComposition composition;
  composition.name = facts.specimen;
  composition.local_step = step_name == "double" ? double_step() : named(gpu_local_steps(), step_name);
  composition.launcher = threads_launcher(kDeadline);
  edit(composition);
  Mutant mutant = mutant_of(facts, named(distributed_candidates(), facts.specimen), ring_candidate(composition));
  const auto make = [composition](const Launcher& launcher) {
    RingComposition moved = composition;
    moved.launcher = launcher;
    return ring_candidate(moved);
  };
  mutant.simulated = on_simulated_ranks(make, 1, kDeadline);
  mutant.simulated.name = mutant.candidate.name;
  return mutant;
}

}  // namespace

Candidate specimen_flash() { return specimen_flash_of("specimen_flash", specimen_flash_forward); }

Mutant kernel_mutant(const MutantFacts& facts, FlashLaunch* edited) {
  FlashKernel kernel = named(flash_kernels(), facts.specimen);
  const Candidate specimen = candidate_on_host(kernel);
  kernel.on_host = edited;
  Candidate candidate = candidate_on_host(kernel);
  if (facts.head_dim_max > 0) {
    candidate.describe = [of_whole = candidate.describe, facts](Dtype asked, Direction direction) {
      Description description = of_whole(asked, direction);
      description.head_dim_max = facts.head_dim_max;
      return description;
    };
  }
  return mutant_of(facts, specimen, candidate);
}

Mutant flash_mutant(const MutantFacts& facts, decltype(&specimen_flash_forward) edited) {
  return mutant_of(facts, specimen_flash(), specimen_flash_of(facts.name, edited));
}

Mutant ring_mutant(const MutantFacts& facts, RanksForward edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.ring = edited; });
}

Mutant plan_mutant(const MutantFacts& facts, RingPlan edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.parts.plan = edited; });
}

Mutant merge_mutant(const MutantFacts& facts, Merge edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.parts.merge = edited; });
}

Mutant head_split_mutant(const MutantFacts& facts, RanksForward edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.head_split = edited; });
}

Mutant head_split_plan_mutant(const MutantFacts& facts, HeadSplitPlanner edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.parts.head_split = edited; });
}

Mutant all_gather_mutant(const MutantFacts& facts, RanksForward edited) {
  return composed_ring(facts, [&](RingComposition& composition) { composition.all_gather = edited; });
}

}  // namespace ringproof

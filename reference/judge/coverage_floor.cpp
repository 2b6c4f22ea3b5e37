// Each floor was measured: ringproof_coverage_floors (property_tests/coverage_floor_measure.cpp) goes down a family
// of Cases whose measure falls by half octaves and runs the class's mutant on 100 seeds at each level. The floor is
// the mean measure at the last level of which at least 95 were rejected. All is judged under the default Arithmetic
// of the storage, by the deterministic bound of O and by rows that return one key alone: so the floors hold for a
// kernel that writes no lse, and on Cases where statistics do not apply.
//
// The mutants walk by tiles of 16 keys, and their coverage is measured with those tiles: the mass that goes astray
// decides, not the tile it went astray in. Rescaling and merges are measured with rows of 1,024 keys, the longest
// that count. fp64 takes the floors of fp32 where it has no such mutant: its bounds are the same multiples of a
// smaller u, and the fault is no smaller. A lerp merge in fp32 loses u = 2^-24 where storage of 16 bits loses 2^-12
// and more, so there is nothing to exercise. For fp8 nothing was measured yet.

#include "reference/judge/coverage_floor.h"

#include <array>
#include <cstdio>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct Floors {
  std::optional<double> fp64, fp32, fp16, bf16;
};

Floors floors_of(FaultClass fault) {
  switch (fault) {
    case FaultClass::kRescaleOfO: return {5.94e-4, 5.94e-4, 0.00473, 0.0365};
    case FaultClass::kRescaleOfL: return {8.4e-4, 8.4e-4, 0.00668, 0.0508};
    case FaultClass::kMaskEdge: return {2.29e-4, 2.29e-4, 4.74e-4, 0.00303};
    case FaultClass::kGroupMap: return {2, 2, 2, 2};
    case FaultClass::kMergeWeights: return {1.2e-11, 5.7e-4, 0.00473, 0.0172};
    case FaultClass::kMergeOfNegligible: return {2.53, 2.53, std::nullopt, std::nullopt};
  }
  return {};
}

std::string three_digits(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", value);
  return text.data();
}

}  // namespace

FaultClassFacts facts_of(FaultClass fault) {
  switch (fault) {
    case FaultClass::kRescaleOfO: return {"rescaling of O", "rescale mass", "rescale_of_o_missing"};
    case FaultClass::kRescaleOfL: return {"rescaling of l", "rescale mass", "rescale_of_l_missing"};
    case FaultClass::kMaskEdge: return {"the mask's edge", "edge mass", "window_right_one_too_short"};
    case FaultClass::kGroupMap: return {"the map of grouped heads", "kv groups", "group_map_interleaved"};
    case FaultClass::kMergeWeights: return {"merge weights", "merge dominance", "merge_averages_without_weights"};
    case FaultClass::kMergeOfNegligible:
      return {"merging a negligible side", "merge leverage", "merge_is_an_undeclared_lerp"};
  }
  assert_that(false, "a fault class is one of its values");
  return {};
}

double measure_of(const Coverage& coverage, FaultClass fault) {
  switch (fault) {
    case FaultClass::kRescaleOfO:
    case FaultClass::kRescaleOfL: return coverage.rescale_mass;
    case FaultClass::kMaskEdge: return coverage.edge_mass;
    case FaultClass::kGroupMap: return static_cast<double>(coverage.kv_groups);
    case FaultClass::kMergeWeights: return coverage.merge_dominance;
    case FaultClass::kMergeOfNegligible: return coverage.merge_leverage;
  }
  assert_that(false, "a fault class is one of its values");
  return 0;
}

std::optional<double> floor_of(FaultClass fault, Dtype storage) {
  const Floors floors = floors_of(fault);
  switch (storage) {
    case Dtype::kF64: return floors.fp64;
    case Dtype::kF32: return floors.fp32;
    case Dtype::kF16: return floors.fp16;
    case Dtype::kBf16: return floors.bf16;
    default: return std::nullopt;
  }
}

bool can_have(FaultClass fault, const Description& description) {
  constexpr std::uint32_t kMergingSchedules =
      bit_of(Schedule::kContiguous) | bit_of(Schedule::kStriped) | bit_of(Schedule::kZigzag);
  switch (fault) {
    case FaultClass::kRescaleOfO:
    case FaultClass::kRescaleOfL: return true;
    case FaultClass::kMaskEdge: return (description.masks & ~bit_of(MaskKind::kFull)) != 0;
    case FaultClass::kGroupMap: return description.has(kGroupedHeads);
    case FaultClass::kMergeWeights:
    case FaultClass::kMergeOfNegligible: return (description.schedules & kMergingSchedules) != 0;
  }
  return true;
}

std::vector<std::string> not_exercised(const Coverage& coverage, const Description& description, Dtype storage) {
  std::vector<std::string> sentences;
  for (const FaultClass fault : kFaultClasses) {
    const std::optional<double> floor = floor_of(fault, storage);
    const double measure = measure_of(coverage, fault);
    if (!floor || !can_have(fault, description) || *floor <= measure) continue;
    const FaultClassFacts facts = facts_of(fault);
    sentences.push_back(facts.name + " was not exercised: " + facts.measured + " " + three_digits(measure) +
                        ", floor " + three_digits(*floor) + " (mutant " + facts.mutant + ")");
  }
  return sentences;
}

}  // namespace ringproof

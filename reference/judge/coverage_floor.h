#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reference/judge/coverage.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// Kinds of faults that numbers can show only where the Cases make a kernel do the thing.
enum class FaultClass { kRescaleOfO, kRescaleOfL, kMaskEdge, kGroupMap, kMergeWeights, kMergeOfNegligible };

/// Every fault class, in the order of reports.
inline constexpr FaultClass kFaultClasses[]{FaultClass::kRescaleOfO,   FaultClass::kRescaleOfL,
                                            FaultClass::kMaskEdge,     FaultClass::kGroupMap,
                                            FaultClass::kMergeWeights, FaultClass::kMergeOfNegligible};

/// What a class is called, what is measured of it, and the mutant it stands for.
struct FaultClassFacts {
  std::string name;      ///< "rescaling of O"
  std::string measured;  ///< "rescale mass"
  std::string mutant;    ///< "rescale_of_o_missing"
};
FaultClassFacts facts_of(FaultClass fault);

/// The measure of `coverage` that belongs to a class.
double measure_of(const Coverage& coverage, FaultClass fault);

/// The level of that measure at which the class's mutant is rejected for 95 of 100 seeds in this storage, under
/// the default Arithmetic, by checks of O alone. Nothing where the fault has no effect that the storage could show, or
/// where none was measured (fp8).
std::optional<double> floor_of(FaultClass fault, Dtype storage);

/// Whether a candidate of this description can have the fault: kernels without masks have no mask edge, and so on.
bool can_have(FaultClass fault, const Description& description);

/// The classes that this description can have, that have a floor and that these Cases do not reach, each a sentence:
/// "rescaling of O was not exercised: rescale mass 0.001, floor 0.05 (mutant rescale_of_o_missing)". Empty: all were.
std::vector<std::string> not_exercised(const Coverage& coverage, const Description& description, Dtype storage);

}  // namespace ringproof

// Measures the floors of coverage_floor.cpp anew: goes down each family until fewer than 95 of 100 seeds are
// rejected. The floor is the mean measure of the last level before.
//
//   build/bin/ringproof_coverage_floors [name of a mutant]

#include <cstdio>
#include <string>

#include "property_tests/coverage_floor.h"

int main(int argc, char** argv) {
  using namespace ringproof;
  constexpr int kLevels = 60;
  for (const FaultClass fault : kFaultClasses) {
    const FaultClassFacts facts = facts_of(fault);
    if (argc > 1 && facts.mutant != argv[1]) continue;
    for (const Dtype storage : dtypes_of(fault)) {
      std::printf("%s in %s\n", facts.mutant.c_str(), std::string(to_string(storage)).c_str());
      for (int level = 0; level <= kLevels; ++level) {
        const CoverageLevel found = level_of_family(fault, storage, level);
        std::printf("  level %2d  %s %.3g  rejected %d of 100\n", level, facts.measured.c_str(), found.measure_mean,
                    found.rejected);
        std::fflush(stdout);
        if (found.rejected < 95) break;
      }
    }
  }
}

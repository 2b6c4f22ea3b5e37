#pragma once

#include <string>
#include <vector>

#include "reference/judge/coverage_floor.h"

namespace ringproof {

/// A level of a family, over 100 seeds.
struct CoverageLevel {
  double measure_mean;
  int rejected;  ///< Cases of 100 on which the class's mutant is rejected
};

/// The storage dtypes in which a mutant of the class exists.
std::vector<Dtype> dtypes_of(FaultClass fault);

/// A Case of the family that makes the coverage of a class fall with `level`, a number of half octaves: level 0 is
/// rich.
Case case_of_family(FaultClass fault, Dtype storage, int level, int seed);

/// The class's mutant on the 100 Cases of a level, under the default Arithmetic: rejected means that an element of O
/// lies outside its deterministic bound or is not the single key's value it has to be, whatever other checks say. The
/// measure is taken with the mutant's tiles.
CoverageLevel level_of_family(FaultClass fault, Dtype storage, int level);

}  // namespace ringproof

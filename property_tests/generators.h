#pragma once

#include <rapidcheck.h>

#include <cstdint>
#include <iosfwd>
#include <vector>

#include "reference/spec/candidate.h"
#include "reference/spec/case.h"

namespace ringproof {

/// Which Cases are drawn: one of each list; sizes, scale, recipe, memory and seed are always free.
struct CaseSpace {
  std::vector<Dtype> dtypes;
  std::vector<MaskKind> masks;
  std::vector<Topology> topologies;
  bool grouped_heads = false;  ///< heads_q > heads_kv in every Case
  bool softcap = false;        ///< some Cases have one; fp8 has descale factors in most
  bool sink = false;           ///< some Cases have one
  bool special = false;        ///< some Cases have NaN, infinity and subnormals in their inputs
};

/// What `candidate` supports by its description; the rank counts are 1, 2, 3, 4, 5, 7 and 8.
CaseSpace space_of(const Candidate& candidate);

/// Whether `c` could have been drawn from `space`, sizes aside.
bool lies_in(const CaseSpace& space, const Case& c);

/// Whole Cases of `space`, small (sequences up to 80, head dims up to 40, up to 6 heads), valid and judgeable;
/// every length may be 0. They shrink through shrink_candidates(), inside `space`.
rc::Gen<Case> cases_of(const CaseSpace& space);

/// Well-formed Cases of the whole grammar, also of what is not judged yet, with sizes and numbers of any
/// magnitude.
rc::Gen<Case> cases_of_the_grammar();

/// How rapidcheck prints a Case.
void showValue(const Case& c, std::ostream& to);

}  // namespace ringproof

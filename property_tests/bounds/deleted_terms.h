#pragma once

#include <string>
#include <vector>

#include "property_tests/bounds/worst_search.h"

namespace ringproof {

/// The forward bound without one of its terms (terms.txt; written by delete_terms.py).
struct DeletedTerm {
  std::string name, counts;
  std::string unreached;  ///< how near kernels come to the bound without it; "" for a term that one needs
  BoundForward bound;
};

/// All of terms.txt, in that order.
std::vector<DeletedTerm> deleted_terms();

}  // namespace ringproof

#pragma once

#include <span>
#include <string>
#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof {

/// Every built-in candidate, in the order reports list them.
std::vector<Candidate> all_candidates();

/// The named ones, in the order named; all but the canaries and `naive_ring` for an empty list. Throws InputError
/// naming an unknown one and what there is.
std::vector<Candidate> choose_candidates(std::span<const std::string> names);

/// A kernel that is wrong on purpose in one element: the last value of O is off by a sixteenth. A gate that
/// accepts it is broken; it runs only when named.
Candidate canary();

/// One that is right, claims determinism, and returns one value an ulp away at every second call: what no single call
/// shows, so that no smaller Case can be found. It runs only when named.
Candidate restless_canary();

}  // namespace ringproof

#pragma once

#include <functional>
#include <vector>

#include "reference/spec/case.h"

namespace ringproof {

/// Simpler neighbours of a Case, simplest first: single rank, one batch and head, full mask, dense memory,
/// short lengths, small head dims, uniform_probe or gauss, then seed 0. Each is valid and judgeable where the
/// Case is, and none equals it, so that greedy shrinking ends. shrink() descends along it for the
/// command; the properties feed it to rapidcheck.
std::vector<Case> shrink_candidates(const Case& c);

/// Goes from `c` to its first neighbour that still fails, and on from there, until none does; `still_fails` may
/// answer no to end the search early. Requires that `c` itself fails.
Case shrink(const Case& c, const std::function<bool(const Case&)>& still_fails);

}  // namespace ringproof

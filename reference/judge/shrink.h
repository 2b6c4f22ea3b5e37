#pragma once

#include <vector>

#include "reference/spec/case.h"

namespace ringproof {

/// Simpler neighbours of a Case, simplest first: single rank, one batch and head, full mask, dense memory,
/// short lengths, small head dims, uniform_probe or gauss, then seed 0. Each is valid and judgeable where the
/// Case is, and none equals it, so that greedy shrinking ends. The command shrinks rejected Cases with it,
/// the properties feed it to rapidcheck.
std::vector<Case> shrink_candidates(const Case& c);

}  // namespace ringproof

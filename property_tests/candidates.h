#pragma once

#include <string>
#include <vector>

#include "distributed/merge.h"
#include "reference/spec/candidate.h"
#include "reference/spec/case.h"
#include "reference/spec/local_step.h"

namespace ringproof {

/// The oracle as a candidate, `oracle`: its answer rounded once to storage, declared as double arithmetic.
Candidate oracle_candidate();

/// Attention by parts, `split<pieces>:<local step>`: the keys cut at places that are a pure function of the
/// problem (pieces may be empty), the local step run on each, the partials merged from left to right. Declares
/// pieces - 1 merges.
Candidate split_candidate(const LocalStep& local_step, Merge merge, int pieces);

/// The candidate of that name among the built-in ones. Requires that there is one.
Candidate built_in(const std::string& name);

/// Correct kernels that every property must hold for: oracle, flash_forward_fp32, ring:double,
/// ring:flash_forward_fp32 and specimen_flash.
std::vector<Candidate> correct_candidates();

/// "" when the judge accepts the candidate on that Case, or when the Case defines no element of an answer (NaN and
/// infinity everywhere); else what the judge says.
std::string is_accepted(const Candidate& candidate, const Case& c);

}  // namespace ringproof

#pragma once

#include "candidates/candidate_abi.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// `problem` as plug-ins get it. Its pointers show what the problem's show; valid as long as that.
rp_problem abi_problem(const Problem& problem);

/// `view` as plug-ins get it.
rp_tensor abi_tensor(const TensorView& view);

/// What `described` says, in our own words. `asked` is the storage dtype it was asked about, or kDefault.
/// Throws InputError with one sentence that begins with `who` and names the field that makes no sense: another abi
/// version, no dtype, no mask, unknown bits, a negative limit, an arithmetic that cannot be.
Description checked_description(const rp_description& described, Dtype asked, bool has_backward,
                                const std::string& who);

}  // namespace ringproof

#pragma once

#include <string>

#include "ci/exit_codes.h"

namespace ringproof {

/// Prints what there is of `what`: candidates, kernels (with where they run), recipes, masks, memory, cases (of
/// `tier`). Throws InputError for anything else.
ExitCode run_list(const std::string& what, const std::string& tier);

}  // namespace ringproof

#pragma once

#include <string>

#include "ci/exit_codes.h"

namespace ringproof {

/// Leaves a working kernel in `language` (c, cuda, python) in `folder`, to start one's own from, and prints what to do
/// next. Throws InputError for another language, and for a folder that is not empty or cannot be made.
ExitCode run_new(const std::string& language, const std::string& folder);

}  // namespace ringproof

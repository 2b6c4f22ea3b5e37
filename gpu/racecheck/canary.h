#pragma once

#include <string>

namespace ringproof::racecheck {

/// Runs two kernels that race, and the same two mended: "" when the checker sees just that, else a sentence on what it
/// missed. One of the races hides in a template function that uninstrumented code of this program has too.
std::string canary_failure();

}  // namespace ringproof::racecheck

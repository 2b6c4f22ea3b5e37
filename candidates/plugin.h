#pragma once

#include <string>

#include "candidates/served_kernel.h"

namespace ringproof {

/// The plug-in at `path`, loaded for the rest of the process. What is wrong with it (no such file, no library, a
/// function missing) is in not_served.
ServedKernel load_plugin(const std::string& path);

}  // namespace ringproof

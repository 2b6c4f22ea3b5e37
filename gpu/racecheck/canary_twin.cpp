// Compiled without instrumentation. Were this file linked in front of the kernels, its copy of the function would win.

#include "gpu/racecheck/canary_twin.h"

namespace ringproof::racecheck {

int uninstrumented_value_behind(const int* place) { return value_behind(place); }

}  // namespace ringproof::racecheck

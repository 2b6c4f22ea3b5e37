#pragma once

#include "gpu/racecheck/watcher.h"

namespace ringproof::racecheck {

/// Whom the loads and stores of instrumented code are told, until the next call; null: nobody. Sources compiled with
/// -fsanitize=thread call the functions of instrumentation.cpp, which stand in for those of the compiler's runtime.
void tell_accesses_to(Watcher* watcher);

}  // namespace ringproof::racecheck

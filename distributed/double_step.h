#pragma once

#include "reference/spec/local_step.h"

namespace ringproof {

/// The double reference as a local step: partial attention in double, fp64 partials, every storage dtype but fp8.
LocalStep double_step();

}  // namespace ringproof

#pragma once

#include "reference/oracle/attention_forward.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"

namespace ringproof {

/// Everything about a Case that no candidate changes: one of these serves them all.
struct Reference {
  Case c;
  Inputs inputs;       ///< dense, storage dtype
  ForwardAnswer want;  ///< the oracle's answer and the row statistics
  double time_ms;      ///< what making it took, inputs included
};

/// Makes inputs and answer. Requires a Case that passed require_judgeable(); throws InputError when its data
/// are missing.
Reference prepare(const Case& c, int threads);

}  // namespace ringproof

#pragma once

#include <string>

#include "reference/spec/inputs.h"

namespace ringproof {

/// The stored activations `name` (golden/data/real/name.{q,k,v}.npy, fp16), their first seqlen tokens,
/// rounded to the problem's storage dtype. Throws InputError as validate_real_inputs does.
Inputs read_real_inputs(const Problem& problem, const std::string& name);

/// Throws InputError when there are no such activations, or when heads, head dims, batch or lengths do not
/// fit them; reads the files' headers only.
void validate_real_inputs(const Problem& problem, const std::string& name);

}  // namespace ringproof

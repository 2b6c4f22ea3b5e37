#pragma once

#include "gpu/conformance/finding.h"

namespace ringproof {

/// exp2_approx of all 2^32 inputs on the device against 2^x in double (CUDA's exp2, within an ulp of double): the
/// largest error in units in the last place of the result, at most 2 as gpu/simt/ptx.h says; NaN for NaN, infinity and
/// zero beyond the range, subnormals flushed. Throws Error without a device.
Finding sweep_exp2();

}  // namespace ringproof

#pragma once

#include <string>

#include "reference/judge/compare.h"

namespace ringproof {

/// Where the residuals of what `evidence` rejects concentrate and what that looks like, as a phrase: "residual
/// concentrates on key 511 in all rows: a tail key dropped", "lse is scaled by 1.443: base 2"; "" where nothing stands
/// out or nothing is rejected. A diagnosis and no check: it knows no fault by name and may be wrong. Computes P again,
/// for as many rows as about 2^31 products take.
std::string attribution_of(const Reference& reference, const Arithmetic& arithmetic, const Got& got,
                           const Evidence& evidence);

}  // namespace ringproof

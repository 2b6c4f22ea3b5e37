#pragma once

#include "reference/spec/arithmetic.h"
#include "reference/spec/case.h"

namespace ringproof {

/// Whether the roundings of P, and so of O, are independent draws on this Case for a candidate that declares
/// `arithmetic` (resolved): what the probabilistic bound, the noise figure and the bias check stand on. True for the
/// recipe gauss with q, k and v of their own, unless a softcap saturates (below 8 standard deviations of the scores),
/// the scores of a row spread over less than 2 ulps of P or so far that rows are one-hot, or head dim and storage are
/// too narrow to tell the keys apart. Elsewhere those checks only warn.
bool is_independent(const Case& c, const Arithmetic& arithmetic);

}  // namespace ringproof

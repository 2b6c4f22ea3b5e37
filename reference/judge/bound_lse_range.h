#pragma once

#include <functional>

#include "reference/judge/reference.h"
#include "reference/spec/arithmetic.h"

namespace ringproof {

/// Between which numbers the lse of a row lies, whatever its scores are, and how far a kernel may be off.
struct LseRange {
  double least, largest;
  double bound;  ///< +inf where the declared Arithmetic promises nothing of such a row
};

/// Hands the range of every row that stands outside the reference's sample and sees a key: linear in [batch, heads_q,
/// seqlen_q], in no promised order. `of_keys`: of the lse that leaves the sink out. Requires finite inputs; costs one
/// pass over q and k.
void for_each_lse_range(const Reference& reference, const Arithmetic& arithmetic, bool of_keys,
                        const std::function<void(std::int64_t row, const LseRange&)>& take);

}  // namespace ringproof

#pragma once

#include <cstddef>

namespace ringproof {

/// sum += term with the rounding error kept in `tail` (Knuth's TwoSum, no branch, any magnitudes). The value
/// of the sum is sum + tail, whose error after m terms is at most u |sum| + m^2 u^2 (sum of |terms|) (Ogita,
/// Rump & Oishi 2005). A sum that is not finite keeps what IEEE addition gives and a meaningless tail.
template <class Real>
inline void add_compensated(Real& sum, Real& tail, Real term) {
  const Real total = sum + term;
  const Real back = total - sum;
  tail += (sum - (total - back)) + (term - back);
  sum = total;
}

/// The value of a compensated sum; a sum that is not finite counts as it is, its tail being NaN.
template <class Real>
inline Real compensated_value(Real sum, Real tail) {
  const Real total = sum + tail;
  return sum - sum == Real(0) ? total : sum;
}

}  // namespace ringproof

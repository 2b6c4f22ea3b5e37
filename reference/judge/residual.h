#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "reference/judge/bound_forward.h"
#include "reference/judge/reference.h"

namespace ringproof {

/// got - (want + tail), signed: 0 where both are equal, -inf and +inf included, and where infinity of the right sign is
/// right because abs(want) + bound reaches what rounds to infinity in `format`; NaN where got is.
double residual(Dtype format, double want, double tail, double got, double bound);

/// What an element of O is expected to be wrong by, squared, for a correct kernel with the declared `arithmetic`
/// (resolved; numerics.md section 8): rounding of P, of the stored O, of one operation of the accumulators.
double sigma_squared(const Problem& problem, const Arithmetic& arithmetic, const ForwardAnswer& want, std::size_t row,
                     std::size_t at);

/// The rows of the answer (by index) over which statistics are formed: those that see at least two keys (a single key's
/// value is passed on, nothing is rounded), whose every bound promises something, and whose weights nobody before has:
/// elements of one row share the roundings of P, and so do rows of equal weights.
std::vector<std::size_t> rows_drawn_apart(const Reference& reference, const Bounds& bounds);

/// Batch, head and row that row `row` of the answer is.
std::array<std::int64_t, 3> place_of(const Reference& reference, std::size_t row);

/// A bound of element `at` of O beyond every value its row sees promises nothing, unless it is no more than what sums
/// near zero may lose (flushing_floor).
bool promises_something(const Reference& reference, std::size_t at, double bound);

/// What a sum over `terms` keys near zero may lose where nothing is declared but the storage dtype: derived in
/// residual.cpp.
double flushing_floor(const Problem& problem, std::int64_t terms);

}  // namespace ringproof

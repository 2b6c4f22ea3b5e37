#pragma once

#include <cstdint>

#include "reference/spec/arithmetic.h"

namespace ringproof {

/// gamma_m = m u / (1 - m u): relative error of a sum of m terms in any order, to the sum of their
/// magnitudes, when every addition rounds to nearest (Higham, Accuracy and Stability of Numerical Algorithms,
/// section 3.1). +inf where m u >= 1.
double gamma_nearest(double m, double u);

/// Gamma_m of the declared accumulator: gamma_nearest for one that rounds to nearest, else that of a truncating tensor
/// core, x / (1 - x) with x = ceil(m / b) ((b + 1) 2^-F + 2 u), b products aligned at a time and F fraction bits kept
/// (numerics.md, after Khattak & Mikaitis, arXiv 2512.07004; the divisor because every block rounds what the earlier
/// ones left). +inf where x >= 1. Requires a resolved Arithmetic.
double gamma_accumulator(const Arithmetic& arithmetic, double m);

}  // namespace ringproof

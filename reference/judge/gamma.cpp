#include "reference/judge/gamma.h"

#include <cmath>
#include <limits>

namespace ringproof {

double gamma_nearest(double m, double u) {
  const double product = m * u;
  return product < 1 ? product / (1 - product) : std::numeric_limits<double>::infinity();
}

double gamma_accumulator(const Arithmetic& arithmetic, double m) {
  const double u = format_facts(arithmetic.accumulator_dtype).unit_roundoff;
  if (arithmetic.mma_block == 0) return gamma_nearest(m, u);
  const double blocks = std::ceil(m / arithmetic.mma_block);
  const double aligned = (arithmetic.mma_block + 1.0) * std::ldexp(1.0, -arithmetic.accumulator_fraction_bits);
  const double product = blocks * (aligned + 2 * u);  // 2 u: the result is rounded toward zero
  return product < 1 ? product / (1 - product) : std::numeric_limits<double>::infinity();
}

}  // namespace ringproof

// With q and k of N(0, 1), a row's scores have the standard deviation sd = |scale| descale_q descale_k sqrt(d).
//
//   softcap     from cap >= 8 sd on, |S| / cap stays small where the scores lie and tanh keeps them apart; below, many
//               scores meet at +-cap, and equal scores round alike
//   spread      P = exp(S - M) varies by sd relative to itself. Below 2 ulps of P's format, 4 u_P, its roundings take
//               a few values, and they lean to one side
//   one-hot     where the other keys weigh less than u_out together, O is v_j but for them, and v_j is a number of the
//               storage: O rounds back to it, always the same way, too large by what the others weigh. The two
//               largest of n scores lie ln(1 / u_out) apart with probability about f = u_out^(sqrt(2 ln n) / sd) (the
//               gap of normal extremes is exponential with mean sd / sqrt(2 ln n)), which shifts O by at most f u_out
//               of itself; that must drown in 4 u sqrt(n), what the bias check grants rounding accumulators
//   duplicates  two draws of N(0, 1) coincide in a format of t bits with probability sum f^2 w^2 <= 2^(1 - t) / (2 pi)
//               (density f, cells of width w <= 2^(1 - t) |x|). Two keys of d columns coincide with less than
//               2^((1 - t) d), so for n^2 <= 2^((t - 1) d) no pair is to be looked for among n keys
//
// broadcast_kv is no dependence: rows of different heads ask the same keys with other queries. alias and v_in_k make
// values of what makes the scores; nobody has shown what that does to the checks.

#include "reference/judge/independent.h"

#include <cmath>

namespace ringproof {

bool is_independent(const Case& c, const Arithmetic& arithmetic) {
  const Problem& p = c.problem;
  if (c.inputs.kind != RecipeKind::kGauss || c.memory.alias || c.memory.v_in_k) return false;
  const auto d = static_cast<double>(p.head_dim_qk);
  const double sd = std::fabs(p.softmax_scale) * p.descale_q * p.descale_k * std::sqrt(d);
  if (p.softcap != 0 && p.softcap < 8 * sd) return false;
  if (sd < 4 * format_facts(arithmetic.p_dtype).unit_roundoff) return false;
  const double n = std::fmax(static_cast<double>(p.seqlen_kv), 1);
  const double u_out = format_facts(dtype_of_out(p.dtype)).unit_roundoff;
  const double shift = std::pow(u_out, 1 + std::sqrt(2 * std::log(n)) / sd);
  if (n > 1 && 4 * format_facts(arithmetic.accumulator_dtype).unit_roundoff * std::sqrt(n) < shift) return false;
  const double bits = (format_facts(p.dtype).precision - 1) * d;
  return 2 * std::log2(n) <= bits;
}

}  // namespace ringproof

// walsh_probe has q = 0, so every visible key has weight 1 and no rescale carries an error; V holds +1 and -1, so every
// partial sum is an integer below 2^24, exact in 24 bits or more. What is left:
//
//   P = exp(0) = 1: exact in ex2.approx.f32, expf and exp, as in every exponential within 2.5 ulp that we know. Its
//   cast is the same for all keys: with l summed from the uncast P one factor (1 + u_P) stays, relative to O. l = n and
//   the division are within 4u:
//
//   pre = (u_P + 4u) |O|           lse = ln n to (8 + 4 ln n) u
//
// Softcap changes nothing: tanh(0) = 0 in every tanh we know. A sink, fp8 (whose P is scaled and whose values may not
// be 1) and a P scale that is no power of two leave the general bound.
//
// Merging m partials adds R1 with sum p |v| = 1, and its part of lse. Without merges O = 0 has bound half_ulp(0): one
// key missing, added or doubled shows at any length.

#include "reference/judge/bound_walsh.h"

#include <cmath>

#include "reference/judge/bound_oracle.h"

namespace ringproof {

bool walsh_bound_holds(const Case& c, const Arithmetic& a) {
  const FormatFacts accumulator = format_facts(a.accumulator_dtype);
  return c.inputs.kind == RecipeKind::kWalshProbe && !c.problem.has_sink && !is_fp8(c.problem.dtype) &&
         std::ldexp(1.0, std::ilogb(a.p_scale)) == a.p_scale && c.problem.seqlen_kv < std::int64_t{1} << 24 &&
         accumulator.precision >= 24 && a.mma_block == 0 && !a.p_is_normalised &&
         a.exp_error_relative <= 5 * accumulator.unit_roundoff;
}

Bounds bound_walsh(const Case& c, const Arithmetic& a, const ForwardAnswer& want) {
  const Problem& problem = c.problem;
  const Dtype out = dtype_of_out(problem.dtype);
  const double u = format_facts(a.accumulator_dtype).unit_roundoff;
  const bool cast = format_facts(a.p_dtype).precision < format_facts(a.accumulator_dtype).precision;
  const double u_p = cast ? format_facts(a.p_dtype).unit_roundoff : 0;
  const bool is_merged = merges_of_row(problem, a) > 0, is_rounded = rounds_partials(problem, a);
  const Bounds oracle = oracle_error(problem, want);
  Bounds bounds{std::vector<double>(want.out.value.size()), std::vector<double>(want.lse.value.size())};
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& scalars = want.statistics.rows[row];
    if (scalars.visible_count == 0) continue;
    const MergeErrors merge = merge_errors(problem, a, scalars);
    const double lse = (8 + 4 * std::fabs(scalars.lse)) * u + merge.lse;
    const Dtype lse_dtype = dtype_of_lse(problem.dtype);
    const double rounded = lse + half_ulp(lse_dtype, std::fabs(scalars.lse) + lse);
    bounds.lse[row] = rounded * rounding_up(1) + oracle.lse[row];
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      const double magnitude = std::fabs(want.out.value[at]);
      const bool may_lose = is_merged || (is_rounded && magnitude > 0);  // 0 is rounded to 0
      const double lost = may_lose ? format_facts(a.partial_dtype).subnormal_min : 0;
      const double before = (u_p + 4 * u + merge.alone) * magnitude + merge.weight + merge.largest + lost;  // |v| = 1
      // The oracle's sums are exact here too; only its division rounds, and 0 stays 0.
      bounds.out[at] = round_out(a, out, magnitude, before) * rounding_up(1) + 2 * want.unit_roundoff * magnitude;
    }
  }
  return bounds;
}

}  // namespace ringproof

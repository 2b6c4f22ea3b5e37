// The deterministic bound of the forward pass (design: numerics.md sections 2-5 and its corrections).
//
// Notation: u unit roundoff of the accumulators, a = |scale|, d = head_dim_qk, n visible keys, D_j = |q|.|k_j|,
// gap_j = M - S_j, e the declared error of one exponential, T the rescale events that carry an error, u_P and
// omega_P the relative and absolute rounding of P's cast. What a kernel computes as weights is w_j (1 + a_j), the
// same in numerator and denominator, with
//
//   |a_j| <= A_j = exp(eta_j) (1 + e)^(T+1) - 1
//   eta_j = a Gamma_(d+1) D_j + u (5 + T) gap_j + u (2 + T) max(|S_j|, |M|) + second order                (E1)
//
// 5 gap: two for the constant scale log2 e, one for the fused multiply-add, two for the telescoped rescale
// arguments. 2 max: the rounded product m c and the subtraction in the rescale; T max: rescale factors formed with
// a fused multiply-add leave one rounding of m c each (not in numerics.md; simulated kernels of that form exceeded
// the bound without it up to 2.3 times). Numerator-only errors are B,
// denominator-only C:
//
//   B = (1 + u_P)(1 + u_in)(1 + Gamma_n)(1 + 2u)^T - 1,      C = (1 + gamma_n)(1 + 2u)^T - 1
//   G = exp(-sum p eta) (1 - e)^(T+1) <= sum p (1 + a), always positive (Jensen)
//
//   pre = [ sqrt(sum p A^2) sqrt(sum p (v - O)^2) + B sum p (1 + A)|v| + (omega_P + 2^-126) p_max sum |v| ]
//         / ((1 - C) G)  +  C / (1 - C) |O|  +  what is lost below the normal range                   (F1, F2)
//   out = pre' + 3u (|O| + pre') + half_ulp((1 + 3u)(|O| + pre')),   pre' = pre and the merges' errors    (F3)
//   lse = max(ln(1 + sum p A), -ln G) + C / (1 - C) + u (2|M| + 2|L| + 2|L - M| + 8) + merges + half_ulp  (L1)
//
// Merging m partials (R1): every weight exp(lse_b - lse) is wrong by 4u + e + 3 u_L, u_L = u (|L| + |M| + 20) + e,
// not common to numerator and denominator, so it multiplies sum p |v|; rounded partials: see below.
//
// Softcap, S = cap tanh(t / cap), t = a q.k: an error of t reaches S at most whole (tanh is 1-Lipschitz). The argument
// t / cap carries 2u (1 / cap and the product), which move S by 2u |x| / cosh^2 x cap <= 0.9 u cap; the product with
// cap u cap more; tanh its declared error, of 1 rather than of tanh x, and 4u, since formulas like
// 1 - 2 / (e^2x + 1) have an absolute error. Together cap (tanh_error + 6u) in eta; rounding t to score_dtype
// moves S by u_S |x| / cosh^2 x cap <= u_S cap / 2 before rounding S does.
//
// Sink, a logit z per head: one more key with value 0, exact score z and gap |z - max S| (a kernel may start its
// maximum at z, or add exp(z - max S) to l at the end). It takes part in M = max(S, z), L, p = exp(S - L), in sum p A
// and sum p eta, in the row sum (n + 1 terms), and in T (one event more: from or to z). The centred sum is split, which
// is sharp where z takes nearly all or nearly nothing: sqrt(sum_j p A^2) sqrt(sum_j p (v - O)^2) + p_z A_z |O|. In base
// two a kernel multiplies z with log2 e and S with scale log2 e, whose relative errors (u and 2u) and z's product (u)
// do not cancel: 4u |z| in the sink's eta. Folding the sink into O afterwards is a merge, to be declared as one;
// ranks that merge partials fold it in as one more. An lse that leaves the sink out is bounded as the row's without it:
// sums over p divided by sum_j p_j.
//
// fp8: statistics hold q, k, v times their descale factors. Two of them in the scale cost two roundings of every score
// (counted in Gamma of the score); descale_v and 1 / p_scale two each of O, p_scale none where it is a power of two.
// Operands dequantised to a wider format are rounded to it. omega_P is divided by p_scale.
//
// Truncating accumulators: Gamma_m (gamma.h) counts blocks of aligned keys. A row's n keys lie in one block more than
// ceil(n / b) where they may begin inside one; a tile shorter than b takes a block of its own.
//
// Partials narrower than the accumulators: what a merge leaves is a partial again, so a chain of m merges may round the
// earliest part m + 1 times: (1 + u_part)^(m + 1) - 1 of sum p |v|. A ring of one rank merges nothing and may round all
// the same: what its only step leaves is the partial that a longer ring would pass on, O itself, wrong by u_part of it.
//
// Second order: a kernel rounds at the gaps and the maximum of its own scores, which lie within a Gamma D of the
// exact ones. That is 1e-7 of the bound in fp32 and a good part of it with accumulators of 8 bits.
//
// Statistics hold sums over keys, not the keys, so that one oracle pass serves every Arithmetic. Three steps make
// bounds of them: max(|S|, |M|) <= |M| + gap, so that eta <= x D + y gap + z; exp(t) - 1 <= t exp(t_max) for
// t <= t_max; and Minkowski for sqrt(sum p (x D + y gap + z)^2). They cost a few per cent.

#include "reference/judge/bound_forward.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/bound_oracle.h"
#include "reference/judge/bound_walsh.h"
#include "reference/judge/gamma.h"
#include "reference/oracle/rises.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kFlush = 0x1p-126;  // inputs and outputs below may be flushed by fp32 arithmetic on GPUs

double unit(Dtype dtype) { return format_facts(dtype).unit_roundoff; }
bool may_flush(const Arithmetic& a) { return a.accumulator_dtype != Dtype::kF64; }
// What one operation may lose where its result is subnormal: all of it.
double lost(const Arithmetic& a) { return std::ldexp(1.0, format_facts(a.accumulator_dtype).exponent_min); }
// TF32 operands may be truncated rather than rounded: twice the unit roundoff.
double unit_of_cast(Dtype dtype) { return (dtype == Dtype::kTf32 ? 2 : 1) * unit(dtype); }
double subnormal_min(Dtype dtype) { return format_facts(dtype).subnormal_min; }

struct OperandErrors {
  double relative, absolute;
};

// What rounding the inputs to the operand dtype does to each of them.
OperandErrors operand_errors(const Problem& problem, const Arithmetic& a) {
  const double flushed = may_flush(a) ? kFlush : 0;
  const bool dequantised = is_fp8(problem.dtype) && a.operand_dtype != problem.dtype;
  if (!dequantised && !is_narrower(a.operand_dtype, problem.dtype)) return {0, flushed};
  return {2 * unit(a.operand_dtype), std::max(flushed, subnormal_min(a.operand_dtype))};
}

bool is_power_of_two(double value) { return std::ldexp(1.0, std::ilogb(value)) == value; }

// Roundings of a score beyond its sum: the scale, and two descale factors in it.
double scalings_of_score(const Problem& problem) { return problem.descale_q != 1 || problem.descale_k != 1 ? 3 : 1; }

// Gamma of a score: d products in the accumulator, and its scalings.
double gamma_score(const Problem& problem, const Arithmetic& a) {
  const double d = static_cast<double>(problem.head_dim_qk);
  const double scalings = scalings_of_score(problem);
  if (a.mma_block == 0) return gamma_accumulator(a, d + scalings);
  return (1 + gamma_accumulator(a, d)) * (1 + gamma_nearest(scalings, unit(a.accumulator_dtype))) - 1;
}

// What softcap adds to eta.
double softcap_error(const Problem& problem, const Arithmetic& a) {
  const double u = unit(a.accumulator_dtype);
  const double u_s = is_narrower(a.score_dtype, a.accumulator_dtype) ? unit(a.score_dtype) : 0;
  return problem.softcap * (a.tanh_error_relative + 6 * u + u_s / 2 + 3 * lost(a));
}

// eta_j <= per_d D_j + per_gap gap_j + constant, of the sink per_gap gap + constant + sink; a computed score lies
// within `apart` of the exact one.
struct ScoreErrors {
  double per_d, per_gap, constant, sink, apart;
};

// Which roundings to count.
enum class Counted {
  kAll,
  kCommon,  // all but those of random_errors
};

// Sums of roundings to nearest, long enough and fine enough that their errors do not lean to one side.
bool sums_at_random(const Arithmetic& a) { return a.mma_block == 0 && !is_narrower(a.accumulator_dtype, Dtype::kF32); }
bool casts_at_random(const Arithmetic& a) { return a.p_dtype != Dtype::kTf32; }

ScoreErrors score_errors(const Problem& problem, const Arithmetic& a, const RowScalars& row,
                         Counted counted = Counted::kAll) {
  const double u = unit(a.accumulator_dtype), scale = std::fabs(problem.softmax_scale);
  const double d = static_cast<double>(problem.head_dim_qk);
  const OperandErrors in = operand_errors(problem, a);
  const bool rounded = is_narrower(a.score_dtype, a.accumulator_dtype), all = counted == Counted::kAll;
  const double u_s = rounded && all ? unit(a.score_dtype) : 0;
  const double operands = (1 + in.relative) * (1 + in.relative);
  const double product = (1 + gamma_score(problem, a)) * operands - 1;
  const double underflow = scale * ((1 + in.relative) * in.absolute * row.abs_sum_max + d * in.absolute * in.absolute +
                                    2 * (d + 1) * lost(a) * std::max(1.0, problem.descale_q * problem.descale_k)) +
                           4 * lost(a) + (rounded ? subnormal_min(a.score_dtype) : 0);
  // gamma_7 and gamma_2 instead of 7 u and 2 u: roundings of one exponent multiply.
  const double per_gap = gamma_nearest(7, u) + u_s, per_maximum = gamma_nearest(2, u) + u_s;
  // The gap and the maximum that a kernel rounds are those of its own scores, which lie this far from the exact ones.
  const double capped = softcap_error(problem, a);
  const double apart = scale * product * row.d_max + underflow + capped;
  const double constant = underflow + capped + per_maximum * (std::fabs(row.score_max) + apart) + 2 * per_gap * apart;
  const double sink = problem.has_sink ? gamma_nearest(4, u) * std::fabs(row.sink) : 0;
  return {scale * (all || !sums_at_random(a) ? product : operands - 1), per_gap, constant, sink, apart};
}

// T: rescales whose factor is not exactly 1, at most one per tile that holds a visible key. A range of n_r keys lies in
// at most ceil((n_r - 1) / t) + 1 aligned tiles, and the first tile of all rescales nothing; so R ranges of n keys
// together see at most (n + R (t - 2)) / t + R - 1 <= ceil(n / t) + 2 (R - 1) events, and never more than n. Tiles
// whose keys are all hidden move no maximum: their scores are -inf. A sink is one event more, from it or to it.
double rescale_events(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  const auto n = static_cast<double>(row.visible_count);
  const double whole = std::ceil(n / static_cast<double>(std::max<std::int64_t>(a.tile_kv, 1)));
  const double tiles = std::min(n, whole + 2 * static_cast<double>(std::max<std::int64_t>(row.visible_ranges - 1, 0)));
  // The oracle counts what this much error in a score may reorder; declarations with more reorder more.
  const double score_error = row.d_max > 0 ? score_errors(problem, a, row).apart : 0;
  const bool counted =
      a.key_order == KeyOrder::kMonotone && !is_narrower(a.score_dtype, Dtype::kF32) &&
      2 * score_error <= near_tie(problem.head_dim_qk, problem.softmax_scale, row.d_max, problem.softcap);
  const double of_sink = problem.has_sink ? 1 : 0;
  if (!counted) return tiles + of_sink;
  return std::min(tiles, static_cast<double>(a.merges > 0 ? row.rises_any_split : row.rises)) + of_sink;
}

// Partial lse stay fp32 even beside partial O of 16 bits; merges run in the wider of both.
double merge_unit(const Arithmetic& a) {
  const Dtype lse = a.partial_dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
  return std::max(unit(a.accumulator_dtype), unit(lse));
}

// Roundings on the way of one term into its sum: the chain of additions and the product before them.
double depth_of(const Arithmetic& a, double n) {
  return a.accumulation_depth > 0 ? std::min(n, static_cast<double>(a.accumulation_depth) + 1) : n;
}

// Where an infinite factor meets a zero, nothing is promised: +inf, never NaN.
double promise(double bound) { return std::isfinite(bound) ? bound : kInfinity; }

// Gamma of the sum of P V over one row, the longest chain of `depth`. A range of n_r keys that may begin inside a block
// lies in at most (n_r + 2 b - 2) / b of them, one range alone in ceil((n + b - 1) / b).
double gamma_values(const Problem& problem, const Arithmetic& a, const RowScalars& row, double depth) {
  if (a.mma_block == 0) return gamma_accumulator(a, depth);
  const double block =
      static_cast<double>(a.tile_kv > 0 ? std::min<std::int64_t>(a.tile_kv, a.mma_block) : a.mma_block);
  const Mask& mask = problem.mask;
  const bool from_key_0 = mask.kind == MaskKind::kFull || mask.kind == MaskKind::kCausalTopLeft ||
                          mask.kind == MaskKind::kCausalBottomRight ||
                          (mask.kind == MaskKind::kWindow && mask.window_left == -1);
  const bool aligned = from_key_0 && merges_of_row(problem, a) == 0;
  const double n = static_cast<double>(row.visible_count), ranges = static_cast<double>(row.visible_ranges);
  const double begins = ranges > 1 ? 2 * ranges * (block - 1) : block - 1;
  double keys = aligned ? n : n + begins;
  if (a.accumulation_depth > 0) keys = std::min(keys, depth + block - 1);
  return gamma_accumulator(a, std::min(std::ceil(keys / block), n) * a.mma_block);
}

// F1, F2.
double bound_element(const Arithmetic& a, Dtype out, const RowErrors& e, const RowScalars& row, const RowStatistics& s,
                     std::size_t at, double want) {
  const double magnitude = std::fabs(want);
  // The variance is centred on the oracle's O, which is rounded.
  const double spread = std::sqrt(s.p_variance[at]) + 0x1p-51 * magnitude;
  const double root_mean_square = std::hypot(spread, std::sqrt(1 + row.p_sink) * want);  // sqrt(sum p v^2)
  const double weighted = std::min((1 + e.weight_max) * s.p_abs_v[at], s.p_abs_v[at] + e.weight_rms * root_mean_square);
  const double numerator =
      e.weight_rms * spread + e.weight_sink * magnitude + e.numerator * weighted + e.underflow * s.sum_abs_v[at];
  const double before =
      numerator / ((1 - e.denominator) * e.weight_sum_min) + e.denominator / (1 - e.denominator) * magnitude;
  return bound_out_after(a, out, e, s.p_abs_v[at], s.max_abs_v[at], want, before);
}

// The row as it is without its sink: weights that sum to 1 again, gaps still measured from a maximum that may be the
// sink's.
RowScalars without_sink(const RowScalars& row) {
  RowScalars keys = row;
  const double share = std::exp(row.lse_keys - row.lse);
  const auto raised = [share](double mean, double largest) {
    return share > 0 ? std::min(mean / share, largest) : largest;
  };
  keys.mean_d = raised(row.mean_d, row.d_max);
  keys.mean_d_squared = raised(row.mean_d_squared, row.d_max * row.d_max);
  keys.mean_gap = raised(row.mean_gap, row.gap_max);
  keys.mean_gap_squared = raised(row.mean_gap_squared, row.gap_max * row.gap_max);
  keys.p_max = row.p_max / share;
  keys.p_sink = 0;
  keys.lse = row.lse_keys;
  return keys;
}

double bound_row_lse(const Problem& problem, const Arithmetic& a, const RowErrors& e, const RowScalars& row) {
  const double weights = std::max(std::log1p(e.weight_mean), -std::log(e.weight_sum_min));
  return bound_lse_after(problem, a, e, row, weights + e.denominator / (1 - e.denominator));
}

}  // namespace

std::int64_t merges_of_row(const Problem& problem, const Arithmetic& arithmetic) {
  const std::int64_t of_ranks = merges_of(problem.topology);
  return arithmetic.merges + of_ranks + (problem.has_sink && of_ranks > 0 ? 1 : 0);
}

double rounding_up(std::int64_t terms) { return 1 + 0x1p-40 + static_cast<double>(terms) * 0x1p-51; }

double round_out(const Arithmetic& arithmetic, Dtype out, double want, double before) {
  const double reach = want + before;
  const double flushed = may_flush(arithmetic) && format_facts(out).exponent_min <= -126 && before > 0 ? kFlush : 0;
  const double divided = 3 * unit(arithmetic.accumulator_dtype) * reach + flushed;
  return before + divided + half_ulp(out, reach + divided);
}

bool rounds_partials(const Problem& problem, const Arithmetic& a) {
  const Schedule schedule = problem.topology.schedule;
  const bool is_ring =
      schedule == Schedule::kContiguous || schedule == Schedule::kStriped || schedule == Schedule::kZigzag;
  return (is_ring || merges_of_row(problem, a) > 0) && is_narrower(a.partial_dtype, a.accumulator_dtype);
}

MergeErrors merge_errors(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  const std::int64_t merges = merges_of_row(problem, a);
  const bool is_rounded = rounds_partials(problem, a);
  if (merges == 0) return {0, 0, 0, is_rounded ? unit(a.partial_dtype) : 0};
  const auto m = static_cast<double>(merges);
  const double u = merge_unit(a);
  const double magnitude = std::fabs(row.lse), maximum = std::fabs(row.score_max);
  double lse = u * (magnitude + maximum + 20);
  // The merged lse is a sum of exponentials, and an error of it stays in every later weight.
  lse += a.exp_error_relative;
  // lse -= log sigmoid(lse - lse_b) rounds at the magnitude of a partial lse: between the least score and L.
  if (a.merge_is_lerp) lse += 2 * u * std::max(magnitude, std::fabs(row.score_max - row.gap_max));
  const double weight = std::expm1(m * std::log1p(4 * u + a.exp_error_relative + 3 * lse));
  const double rounded = std::expm1((is_rounded ? m + 1 : 1) * std::log1p(unit(a.partial_dtype)));
  // out -= sigmoid(lse_b - lse) (out - out_b) rounds at the magnitude of a partial whose weight may be
  // nothing.
  const double lerp = a.merge_is_lerp ? 4 * m * u : 0;
  // A merge weight below the normal range may vanish, whatever the values it weighs.
  const double vanished = m * lost(a);
  return {weight + rounded * (1 + weight), lerp + vanished, m * lse, 0};
}

CastErrors cast_of_p(const Arithmetic& a) {
  // An exponential is fp32 or wider; narrower accumulators do not narrow it.
  const Dtype of_exp = is_narrower(a.accumulator_dtype, Dtype::kF32) ? Dtype::kF32 : a.accumulator_dtype;
  if (!is_narrower(a.p_dtype, of_exp)) return {0, 0};
  return {unit_of_cast(a.p_dtype), subnormal_min(a.p_dtype) / 2 / a.p_scale};
}

double bound_lse_after(const Problem& problem, const Arithmetic& a, const RowErrors& e, const RowScalars& row,
                       double before) {
  const double u = unit(a.accumulator_dtype);
  // The maximum of a kernel may be that of the keys or the sink.
  const double maximum = std::fabs(row.score_max) + row.sink_gap + score_errors(problem, a, row).apart;
  const double magnitude = std::fabs(row.lse), apart = std::fabs(row.lse - row.score_max) + row.sink_gap;
  const double last_steps = u * (2 * maximum + 2 * magnitude + 2 * apart + 8);
  const double merged = before + last_steps + e.lse_merge;
  return merged + half_ulp(dtype_of_lse(problem.dtype), magnitude + merged);
}

double bound_out_after(const Arithmetic& a, Dtype out, const RowErrors& e, double sum_p_abs_v, double max_abs_v,
                       double want, double before) {
  const double merged =
      before * (1 + e.merge_weight) + e.merge_weight * sum_p_abs_v + e.merge_largest * max_abs_v + e.absolute;
  const double passed_on = merged + e.partial_alone * (std::fabs(want) + merged);
  return round_out(a, out, std::fabs(want), passed_on);
}

namespace {

RowErrors errors_of(const Problem& problem, const Arithmetic& a, const RowScalars& row, Counted counted) {
  const double u = unit(a.accumulator_dtype), n = static_cast<double>(row.visible_count);
  const double events = rescale_events(problem, a, row);
  const double exponentials = (events + 1) * std::log1p(a.exp_error_relative);
  const bool all = counted == Counted::kAll;
  CastErrors cast = cast_of_p(a);
  if (!all && casts_at_random(a)) cast.relative = 0;
  const double cast_in_l = a.l_sums_cast_p ? cast.relative : 0;
  ScoreErrors eta = score_errors(problem, a, row, counted);
  // A kernel may form its rescale factor as it forms weights, exp2(fma(m_old, c, -fl(m_new c))): every event then
  // leaves the rounding of m_old c, whose magnitude is at most |M| + gap_j for what key j has accumulated.
  eta.per_gap += events * u;
  eta.constant += events * u * (std::fabs(row.score_max) + eta.apart);
  const double constant = eta.constant + exponentials + std::log1p(cast_in_l);
  const double up = rounding_up(row.visible_count);
  const double largest =
      eta.per_d * row.d_max + eta.per_gap * std::max(row.gap_max, row.sink_gap) + constant + eta.sink;
  const double stretch = std::exp(largest) * up;  // exp(t) - 1 <= t exp(largest)
  RowErrors e{};
  const double mean_gap = row.mean_gap + row.p_sink * row.sink_gap, of_sink = row.p_sink * eta.sink;
  const double p_keys = problem.has_sink ? std::min(1.0, std::exp(row.lse_keys - row.lse)) : 1;
  e.weight_rms = stretch * (eta.per_d * std::sqrt(row.mean_d_squared) + eta.per_gap * std::sqrt(row.mean_gap_squared) +
                            constant * std::sqrt(p_keys));
  e.weight_sink = stretch * row.p_sink * (eta.per_gap * row.sink_gap + constant + eta.sink);
  e.weight_mean = stretch * (eta.per_d * row.mean_d + eta.per_gap * mean_gap + constant + of_sink);
  e.weight_max = std::expm1(largest * up);
  const double eta_mean = (eta.per_d * row.mean_d + eta.per_gap * mean_gap + eta.constant + of_sink) * up;
  e.weight_sum_min = std::exp(-eta_mean + (events + 1) * std::log1p(-a.exp_error_relative) + std::log1p(-cast_in_l));
  const double depth = depth_of(a, n), terms = n + (problem.has_sink ? 1 : 0);
  const bool whole_sums = all || !sums_at_random(a);
  const double rescaled = std::exp(events * std::log1p(2 * u));
  const OperandErrors in = operand_errors(problem, a);
  // Normalised before the cast: whatever l sums, the cast that reaches O comes after it.
  const double cast_in_numerator = a.l_sums_cast_p && !a.p_is_normalised ? 0 : cast.relative;
  const double scalings =
      (a.p_is_normalised ? 2 : 0) + (problem.descale_v != 1 ? 2 : 0) + (is_power_of_two(a.p_scale) ? 0 : 2);
  const double sum_in_numerator = whole_sums ? (1 + gamma_values(problem, a, row, depth)) * rescaled : 1;
  e.numerator = (1 + cast_in_numerator) * (1 + in.relative) * sum_in_numerator * (1 + gamma_nearest(scalings, u)) - 1;
  e.denominator = whole_sums ? (1 + gamma_nearest(depth + terms - n, u)) * rescaled - 1 : 0;
  // Weights that vanish, and those that the cast makes vanish where l sums them, against a sum of at least G.
  const double lost_in_l = lost(a) + (a.l_sums_cast_p ? cast.absolute : 0);
  e.denominator += terms * lost_in_l * row.p_max / e.weight_sum_min;
  if (!(e.denominator < 1)) e.denominator = kInfinity;
  e.underflow = cast.absolute * (a.p_is_normalised ? 1 : row.p_max) + lost(a) * row.p_max;
  // Products and partial sums below the normal range, v flushed or rounded to a subnormal, in units of O.
  e.absolute = 2 * (n + events) * lost(a) * row.p_max * std::max(1.0, problem.descale_v) + in.absolute;
  e.absolute /= (1 - e.denominator) * e.weight_sum_min;
  const MergeErrors merge = merge_errors(problem, a, row);
  e.merge_weight = merge.weight;
  e.lse_merge = merge.lse;
  e.merge_largest = merge.largest;
  e.partial_alone = merge.alone;
  // Partial weights sum to 1.
  if (merges_of_row(problem, a) > 0 || rounds_partials(problem, a)) e.absolute += subnormal_min(a.partial_dtype);
  return e;
}

}  // namespace

RowErrors row_errors(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  return errors_of(problem, a, row, Counted::kAll);
}

RowErrors common_errors(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  return errors_of(problem, a, row, Counted::kCommon);
}

RandomErrors random_errors(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  const double u = unit(a.accumulator_dtype), scale = std::fabs(problem.softmax_scale);
  const double d = static_cast<double>(problem.head_dim_qk), n = static_cast<double>(row.visible_count);
  const OperandErrors in = operand_errors(problem, a);
  const double product = scale * row.d_max * (1 + in.relative) * (1 + in.relative);
  const double dot = sums_at_random(a) ? u * std::sqrt(d + scalings_of_score(problem)) * product : 0;
  const double apart = score_errors(problem, a, row).apart;
  const double largest_score = std::max(std::fabs(row.score_max), std::fabs(row.score_max - row.gap_max)) + apart;
  const bool rounded = is_narrower(a.score_dtype, a.accumulator_dtype);
  RandomErrors e{};
  e.scores = std::hypot(dot, rounded ? unit(a.score_dtype) * largest_score : 0);
  e.cast = casts_at_random(a) ? cast_of_p(a).relative : 0;
  if (sums_at_random(a)) e.sums = u * std::sqrt(depth_of(a, n) + 2 * rescale_events(problem, a, row));
  return e;
}

Bounds bound_forward(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want) {
  if (walsh_bound_holds(c, arithmetic)) return bound_walsh(c, arithmetic, want);
  const Problem& problem = c.problem;
  const Dtype out = dtype_of_out(problem.dtype);
  const Bounds oracle = oracle_error(problem, want);
  Bounds bounds{std::vector<double>(want.out.value.size()), std::vector<double>(want.lse.value.size()),
                std::vector<double>(want.lse_keys.value.size())};
  for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
    const RowScalars& scalars = want.statistics.rows[row];
    if (scalars.visible_count == 0 && !problem.has_sink) continue;
    const RowErrors errors = row_errors(problem, arithmetic, scalars);
    const double up = rounding_up(scalars.visible_count);
    const bool nothing = !(errors.denominator < 1);
    const double bound_lse = bound_row_lse(problem, arithmetic, errors, scalars);
    bounds.lse[row] = nothing ? kInfinity : promise(bound_lse * up + oracle.lse[row]);
    if (problem.has_sink && scalars.visible_count > 0) {
      const RowScalars keys = without_sink(scalars);
      const RowErrors of_keys = row_errors(problem, arithmetic, keys);
      const double bound = bound_row_lse(problem, arithmetic, of_keys, keys);
      bounds.lse_keys[row] = of_keys.denominator < 1 ? promise(bound * up + oracle.lse_keys[row]) : kInfinity;
    }
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      // Where all values a row sees are 0, every product and sum is exactly 0, whatever the weights.
      if (!nothing && want.statistics.sum_abs_v[at] == 0) continue;
      const double bound = bound_element(arithmetic, out, errors, scalars, want.statistics, at, want.out.value[at]);
      bounds.out[at] = nothing ? kInfinity : promise(bound * up + oracle.out[at]);
    }
  }
  return bounds;
}

}  // namespace ringproof

// Error against bound, element by element. Everything is written as acceptance (error <= bound), so that a
// NaN anywhere lands outside without a special case.

#include "reference/judge/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The least magnitude that rounds to infinity: the largest finite number and half its ulp.
double overflow_begins_at(Dtype format) {
  const double largest = format_facts(format).finite_max;
  return largest + half_ulp(format, largest);
}

double error_of(Dtype format, double want, double tail, double got, double bound) {
  if (want == got && tail == 0) return 0;
  const bool may_overflow = std::isinf(got) && std::signbit(got) == std::signbit(want) && std::isfinite(want) &&
                            overflow_begins_at(format) <= std::fabs(want) + bound;
  if (may_overflow) return 0;
  return std::fabs((got - want) - tail);
}

std::array<std::int64_t, 4> index_of(const Shape& shape, std::int64_t linear) {
  return {linear / (shape[1] * shape[2] * shape[3]), linear / (shape[2] * shape[3]) % shape[1],
          linear / shape[3] % shape[2], linear % shape[3]};
}

// A bound beyond every visible value promises nothing, unless it is only the rounding of numbers near zero.
bool promises_something(double bound, double largest_value, Dtype format) {
  const double least_normal = std::ldexp(1.0, format_facts(format).exponent_min);
  return std::max(largest_value, least_normal) >= bound;
}

// A row that sees nothing, of a candidate that does not claim what stands there.
bool is_undefined(const Reference& reference, const Got& got, std::size_t row) {
  return !got.empty_rows_defined && reference.want.statistics.rows[row].visible_count == 0;
}

// `is_promised(at)` says whether the bound of that element promises anything.
template <class IsPromised>
TensorEvidence compare_tensor(const std::string& name, const Reference& reference, const WideValues& want,
                              const std::vector<double>& bounds, const Got& got, const Tensor& tensor,
                              const IsPromised& is_promised) {
  TensorEvidence facts{name};
  const TensorView view = tensor.view();
  for (std::size_t at = 0; at < want.value.size(); ++at) {
    const std::size_t row = at / static_cast<std::size_t>(view.shape[3]);
    if (is_undefined(reference, got, row)) {
      ++facts.count_undefined;
      continue;
    }
    const auto column = static_cast<std::int64_t>(at) % view.shape[3];
    const auto index = index_of(view.shape, reference.want.row_at(row) * view.shape[3] + column);
    const double value = view.load(index[0], index[1], index[2], index[3]);
    if (!is_promised(at) && !std::isnan(value)) {  // a NaN is outside whatever the bound
      ++facts.count;
      ++facts.count_not_judged;
      continue;
    }
    judge_element(facts, view.dtype, index, want.value[at], want.tail_at(at), value, bounds[at]);
  }
  return facts;
}

TensorEvidence compare_out(const Reference& reference, const Bounds& bounds, const Got& got) {
  const std::vector<double>& largest = reference.want.statistics.max_abs_v;
  return compare_tensor("out", reference, reference.want.out, bounds.out, got, got.out, [&](std::size_t at) {
    return promises_something(bounds.out[at], largest[at], got.out.dtype());
  });
}

TensorEvidence compare_lse(const Reference& reference, const Bounds& bounds, const Got& got) {
  return compare_tensor("lse", reference, reference.want.lse, bounds.lse, got, got.lse,
                        [&](std::size_t at) { return std::isfinite(bounds.lse[at]); });
}

// Rows whose answer is one key's value, exactly.
TensorEvidence compare_by_value(const Reference& reference, const Arithmetic& arithmetic, const Got& got) {
  TensorEvidence facts{"out by value"};
  const Problem& problem = reference.c.problem;
  const bool one_hot = reference.c.inputs.kind == RecipeKind::kExact;
  const TensorView out = got.out.view();
  for (std::size_t row = 0; row < reference.want.lse.value.size(); ++row) {
    const RowScalars& scalars = reference.want.statistics.rows[row];
    if (scalars.visible_count == 0 || (scalars.visible_count > 1 && !one_hot)) continue;
    // exact: all other keys together weigh at most n exp(-40), times the largest ratio of its values, 61.
    const double slack = one_hot ? 61 * static_cast<double>(scalars.visible_count) * std::exp(-40.0) : 0;
    if (!returns_single_key_by_value(problem, arithmetic, scalars, slack)) continue;
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      const double want = round_to(out.dtype, reference.want.out.value[at]);
      if (std::fabs(want) < 0x1p-126) continue;
      const auto index = index_of(out.shape, reference.want.row_at(row) * problem.head_dim_v + column);
      judge_element(facts, out.dtype, index, want, 0, out.load(index[0], index[1], index[2], index[3]), 0);
    }
  }
  return facts;
}

}  // namespace

void judge_element(TensorEvidence& facts, Dtype format, const std::array<std::int64_t, 4>& index, double want,
                   double tail, double got, double bound) {
  const double error = error_of(format, want, tail, got, bound);
  const bool inside = error <= bound;
  const double ratio = error <= 0 ? 0 : error / bound;
  const double used = std::isnan(ratio) ? kInfinity : ratio;
  if (facts.count == facts.count_not_judged || !(used <= facts.bound_used)) {
    facts.worst_index = index;
    facts.want = want;
    facts.got = got;
    facts.error = error;
    facts.bound = bound;
    facts.bound_used = used;
  }
  ++facts.count;
  if (!inside) ++facts.count_outside;
}

bool returns_single_key_by_value(const Problem& problem, const Arithmetic& a, const RowScalars& row, double slack) {
  const double limit = problem.dtype == Dtype::kBf16 ? 0x1p-9 : problem.dtype == Dtype::kF16 ? 0x1p-12 : 0;
  const bool narrow_accumulator = format_facts(a.accumulator_dtype).precision < format_facts(Dtype::kF32).precision;
  if (limit == 0 || problem.has_sink || narrow_accumulator || std::ldexp(1.0, std::ilogb(a.p_scale)) != a.p_scale)
    return false;
  const bool exact_operands = format_facts(problem.dtype).precision <= format_facts(a.operand_dtype).precision;
  const bool exact_scores = format_facts(Dtype::kF32).precision <= format_facts(a.score_dtype).precision;
  if (!exact_operands || !exact_scores) return false;
  const double u = format_facts(a.accumulator_dtype).unit_roundoff;
  const MergeErrors merge = merge_errors(a, merges_of_row(problem, a), row);
  const double relative = 2 * u * std::fabs(row.score_max) + a.exp_error_relative + 8 * u + merge.weight + slack;
  return relative < limit;
}

Evidence compare(const std::string& candidate, const Reference& reference, const Arithmetic& arithmetic,
                 const Got& got) {
  const Problem& problem = reference.c.problem;
  Evidence evidence{candidate,
                    to_string(reference.c),
                    problem.dtype,
                    problem.mask.kind,
                    std::max(problem.head_dim_qk, problem.head_dim_v),
                    got.status,
                    got.reason,
                    got.structure_faults,
                    {},
                    {"out by value"},
                    got.time_ms,
                    reference.time_ms};
  evidence.rows = reference.rows_judged();
  if (got.status != CallStatus::kReturned) return evidence;
  const Bounds bounds = bound_forward(reference.c, arithmetic, reference.want);
  evidence.tensors.push_back(compare_out(reference, bounds, got));
  if (got.has_lse) evidence.tensors.push_back(compare_lse(reference, bounds, got));
  evidence.by_value = compare_by_value(reference, arithmetic, got);
  return evidence;
}

}  // namespace ringproof

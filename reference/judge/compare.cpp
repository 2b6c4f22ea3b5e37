// Error against bound, element by element. Everything is written as acceptance (error <= bound), so that a
// NaN anywhere lands outside without a special case.

#include "reference/judge/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/judge/bound_lse_range.h"
#include "reference/judge/rank_traffic.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::array<std::int64_t, 4> index_of(const Shape& shape, std::int64_t linear) {
  return {linear / (shape[1] * shape[2] * shape[3]), linear / (shape[2] * shape[3]) % shape[1],
          linear / shape[3] % shape[2], linear % shape[3]};
}

// A row that sees nothing, of a candidate that does not claim what stands there; one that nan2 has spoiled; one that
// sees an infinity, or has a NaN beside it that the candidate need not bear.
bool is_undefined(const Reference& reference, const Got& got, std::size_t row) {
  const std::int64_t place = reference.want.row_at(row);
  if (!got.rows_spoiled.empty() && got.rows_spoiled[static_cast<std::size_t>(place)]) return true;
  if (reference.special.is_unspecified(place)) return true;
  if (!got.bears_hidden_nan && reference.special.lies_beside(place)) return true;
  return !got.empty_rows_defined && reference.want.statistics.rows[row].visible_count == 0;
}

// `is_promised(at)` says whether the bound of that element promises anything. No bound is asked where NaN is right.
template <class IsPromised>
TensorEvidence compare_tensor(const std::string& name, const Reference& reference, const WideValues& want,
                              const std::vector<double>& bounds, const Got& got, const Tensor& tensor,
                              const IsPromised& is_promised) {
  TensorEvidence facts{name};
  const TensorView view = tensor.view();
  const bool is_lse = &tensor == &got.lse;
  for (std::size_t at = 0; at < want.value.size(); ++at) {
    const std::size_t row = at / static_cast<std::size_t>(view.shape[3]);
    if (is_undefined(reference, got, row)) {
      ++facts.count_undefined;
      continue;
    }
    const auto column = static_cast<std::int64_t>(at) % view.shape[3];
    const auto index = index_of(view.shape, reference.want.row_at(row) * view.shape[3] + column);
    const double value = view.load(index[0], index[1], index[2], index[3]);
    const std::int64_t place = reference.want.row_at(row);
    if (is_lse ? reference.special.is_nan(place) : reference.special.is_nan(place, column)) {
      judge_nan(facts, index, value, is_lse);
      continue;
    }
    if (!is_promised(at) && !std::isnan(value)) {  // a NaN is outside whatever the bound
      ++facts.count;
      ++facts.count_not_judged;
      continue;
    }
    judge_element(facts, view.dtype, index, want.value[at], want.tail_at(at), value, bounds[at]);
  }
  return facts;
}

// Elements that the deterministic bound promises nothing of are not judged, whatever `bounds`.
std::vector<TensorEvidence> compare_tensors(const Reference& reference, const Bounds& bounds, const Limits& limits,
                                            const Got& got) {
  std::vector<TensorEvidence> tensors{compare_tensor("out", reference, reference.want.out, bounds.out, got, got.out,
                                                     [&](std::size_t at) { return limits.promised[at]; })};
  if (!got.has_lse) return tensors;
  const bool of_keys = got.lse_leaves_sink_out;
  const WideValues& want = of_keys ? reference.want.lse_keys : reference.want.lse;
  const std::vector<double>& promised = of_keys ? limits.bounds.lse_keys : limits.bounds.lse;
  tensors.push_back(compare_tensor("lse", reference, want, of_keys ? bounds.lse_keys : bounds.lse, got, got.lse,
                                   [&](std::size_t at) { return std::isfinite(promised[at]); }));
  return tensors;
}

// Where the roundings are no independent draws, what exceeds the probabilistic bound may be right.
void warn(Evidence& evidence) {
  if (evidence.is_independent) return;
  for (const TensorEvidence& tensor : evidence.probabilistic) {
    if (tensor.count_outside == 0) continue;
    evidence.warnings.push_back(std::to_string(tensor.count_outside) + " of " + std::to_string(tensor.count) +
                                " elements of " + tensor.name +
                                " exceed their probabilistic bound, which need not hold on this Case: its roundings "
                                "are no independent draws");
  }
}

// Rows whose answer is one key's value, exactly.
TensorEvidence compare_by_value(const Reference& reference, const Arithmetic& arithmetic, const Got& got) {
  TensorEvidence facts{"out by value"};
  const Problem& problem = reference.c.problem;
  const bool one_hot = reference.c.inputs.kind == RecipeKind::kExact && problem.softcap == 0;
  const TensorView out = got.out.view();
  for (std::size_t row = 0; row < reference.want.lse.value.size(); ++row) {
    const RowScalars& scalars = reference.want.statistics.rows[row];
    if (scalars.visible_count == 0 || (scalars.visible_count > 1 && !one_hot) || is_undefined(reference, got, row))
      continue;
    const std::int64_t place = reference.want.row_at(row);
    // exact: all other keys together weigh at most n exp(-40), times the largest ratio of its values, 61.
    const double slack = one_hot ? 61 * static_cast<double>(scalars.visible_count) * std::exp(-40.0) : 0;
    if (!returns_single_key_by_value(problem, arithmetic, scalars, slack)) continue;
    for (std::int64_t column = 0; column < problem.head_dim_v; ++column) {
      const std::size_t at = row * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(column);
      const double want = round_to(out.dtype, reference.want.out.value[at]);
      if (std::fabs(want) < 0x1p-126 || reference.special.is_nan(place, column)) continue;
      const auto index = index_of(out.shape, reference.want.row_at(row) * problem.head_dim_v + column);
      judge_element(facts, out.dtype, index, want, 0, out.load(index[0], index[1], index[2], index[3]), 0);
    }
  }
  return facts;
}

bool is_finite(const Tensor& tensor) {
  const TensorView view = tensor.view();
  const std::int64_t count = element_count(view.shape);
  for (std::int64_t at = 0; at < count; ++at) {
    const auto index = index_of(view.shape, at);
    if (!std::isfinite(view.load(index[0], index[1], index[2], index[3]))) return false;
  }
  return true;
}

bool holds_nan(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t s) {
  for (std::int64_t d = 0; d < view.shape[3]; ++d) {
    if (std::isnan(view.load(b, h, s, d))) return true;
  }
  return false;
}

bool is_finite(const Inputs& in) { return is_finite(in.q) && is_finite(in.k) && is_finite(in.v); }

// Of rows outside a sample lse is held to the nearest number that it may be.
void look_at_lse_outside_the_sample(const Reference& reference, const Arithmetic& arithmetic, const Got& got,
                                    TensorEvidence& lse) {
  const TensorView view = got.lse.view();
  for_each_lse_range(reference, arithmetic, got.lse_leaves_sink_out, [&](std::int64_t row, const LseRange& range) {
    if (!got.rows_spoiled.empty() && got.rows_spoiled[static_cast<std::size_t>(row)]) return;
    const auto index = index_of(view.shape, row);
    const double value = view.load(index[0], index[1], index[2], 0);
    if (!std::isfinite(range.bound) || std::isnan(value)) return;  // a NaN is a fault of structure
    judge_element(lse, view.dtype, index, std::clamp(value, range.least, range.largest), 0, value, range.bound);
  });
}

// O of rows outside a sample is held to no bound; but no answer of finite inputs is NaN, and looking for one is cheap.
// Requires finite inputs.
void look_for_nan_outside_the_sample(const Reference& reference, const Got& got, Evidence& evidence) {
  const std::vector<std::int64_t>& sample = reference.want.rows;
  const Visibility visibility(reference.c.problem);
  const Shape shape = reference.c.problem.shape_lse();
  std::int64_t count = 0;
  std::string first;
  for (std::int64_t s = 0; s < shape[2]; ++s) {
    if (visibility.count(s) == 0) continue;
    for (std::int64_t head = 0; head < shape[0] * shape[1]; ++head) {
      const std::int64_t b = head / shape[1], h = head % shape[1], row = head * shape[2] + s;
      const bool is_spoiled = !got.rows_spoiled.empty() && got.rows_spoiled[static_cast<std::size_t>(row)];
      if (is_spoiled || std::binary_search(sample.begin(), sample.end(), row)) continue;
      const bool in_out = holds_nan(got.out.view(), b, h, s);
      if (!in_out && !(got.has_lse && holds_nan(got.lse.view(), b, h, s))) continue;
      if (count++ > 0) continue;
      first = std::string(in_out ? "out" : "lse") + " (batch " + std::to_string(b) + ", head " + std::to_string(h) +
              ", row " + std::to_string(s) + ")";
    }
  }
  if (count == 0) return;
  evidence.structure_faults.push_back(
      std::to_string(count) + " rows outside the sample hold a NaN, though all inputs are finite; the first " + first);
}

}  // namespace

void judge_element(TensorEvidence& facts, Dtype format, const std::array<std::int64_t, 4>& index, double want,
                   double tail, double got, double bound) {
  const double error = std::fabs(residual(format, want, tail, got, bound));
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

void judge_nan(TensorEvidence& facts, const std::array<std::int64_t, 4>& index, double got, bool infinity_too) {
  const bool inside = std::isnan(got) || (infinity_too && got == kInfinity);
  const double used = inside ? 0 : kInfinity;
  if (facts.count == facts.count_not_judged || !(used <= facts.bound_used)) {
    facts.worst_index = index;
    facts.want = std::numeric_limits<double>::quiet_NaN();
    facts.got = got;
    facts.error = used;
    facts.bound = 0;
    facts.bound_used = used;
  }
  ++facts.count;
  if (!inside) ++facts.count_outside;
}

bool returns_single_key_by_value(const Problem& problem, const Arithmetic& a, const RowScalars& row, double slack) {
  const Dtype out = dtype_of_out(problem.dtype);
  const double limit = out == Dtype::kBf16 ? 0x1p-9 : out == Dtype::kF16 ? 0x1p-12 : 0;
  const auto is_power_of_two = [](double value) { return std::ldexp(1.0, std::ilogb(value)) == value; };
  const bool narrow_accumulator = format_facts(a.accumulator_dtype).precision < format_facts(Dtype::kF32).precision;
  if (limit == 0 || problem.has_sink || narrow_accumulator || !is_power_of_two(a.p_scale)) return false;
  // Else v times descale_v is rounded on its way, and may be twice.
  if (!is_power_of_two(problem.descale_v)) return false;
  const bool exact_operands = format_facts(problem.dtype).precision <= format_facts(a.operand_dtype).precision;
  const bool exact_scores = format_facts(Dtype::kF32).precision <= format_facts(a.score_dtype).precision;
  if (!exact_operands || !exact_scores) return false;
  const double u = format_facts(a.accumulator_dtype).unit_roundoff;
  const MergeErrors merge = merge_errors(problem, a, row);
  const double relative =
      2 * u * std::fabs(row.score_max) + a.exp_error_relative + 8 * u + merge.weight + merge.alone + slack;
  return relative < limit;
}

std::string data_of(const Case& c) {
  return std::string(to_string(c.problem.dtype)) + " " + to_string(c.inputs) + ":" + std::to_string(c.inputs.seed);
}

Evidence compare(const std::string& candidate, const Reference& reference, const Arithmetic& arithmetic, const Got& got,
                 std::int64_t tensors_in_run) {
  const bool is_held = got.status == CallStatus::kReturned;  // else to nothing
  return compare(candidate, reference, is_held ? limits_of(reference, arithmetic, tensors_in_run) : Limits{}, got);
}

Evidence compare(const std::string& candidate, const Reference& reference, const Limits& limits, const Got& got) {
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
  evidence.data = data_of(reference.c);
  if (got.status != CallStatus::kReturned) return evidence;
  evidence.warnings = got.shown;
  evidence.ranks = got.ranks;
  evidence.traffic_faults = traffic_faults(got.ranks);
  evidence.tensors = compare_tensors(reference, limits.bounds, limits, got);
  if (!reference.want.rows.empty() && got.answers_every_row && !reference.inputs_with_special &&
      is_finite(reference.inputs)) {
    look_for_nan_outside_the_sample(reference, got, evidence);
    if (got.has_lse) look_at_lse_outside_the_sample(reference, limits.arithmetic, got, evidence.tensors.back());
  }
  evidence.by_value = compare_by_value(reference, limits.arithmetic, got);
  evidence.zeros = reference.inputs_with_special || got.rows_spoiled.empty()
                       ? limits.zeros
                       : zero_control(reference, limits.bounds, got.rows_spoiled);
  evidence.probabilistic = compare_tensors(reference, limits.probabilistic, limits, got);
  evidence.is_independent = limits.is_independent;
  std::vector<std::size_t> rows = limits.rows_apart;
  std::erase_if(rows, [&](std::size_t row) {
    return is_undefined(reference, got, row) || reference.special.is_special(reference.want.row_at(row));
  });
  evidence.noise = noise_of(reference, limits, got.out, rows);
  evidence.bias = bias_of(reference, limits, got.out, rows);
  warn(evidence);
  return evidence;
}

}  // namespace ringproof

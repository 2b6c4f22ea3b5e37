// Each property runs the candidate on inputs and on changed inputs and compares what came back. With x exact
// and bound B of got: |got - x| <= B. So if two exact answers are equal, |got_a - got_b| <= B_a + B_b; and if
// the exact answer lies in [low, high], low - got <= B and got - high <= B. Acceptance is written positively: a
// NaN satisfies no comparison.

#include "property_tests/properties.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>

#include "reference/judge/verify.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Answer {
  Case c;
  Got got;
  Bounds bounds;
  std::string fault;  ///< why there is nothing to compare
};

// The candidate on these inputs. Inputs that no recipe made are bounded as any inputs are.
Answer answer_to(const Candidate& candidate, Case c, const Inputs& inputs) {
  c.inputs = {RecipeKind::kGauss, 0, "", c.inputs.seed};
  const Reference reference{c, inputs,
                            attention_forward(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), 1), 0};
  Buffers buffers;
  Answer answer{c, run(candidate, reference, buffers), {}, ""};
  const Dtype storage = c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, c.direction).arithmetic, storage);
  answer.bounds = bound_forward(c, arithmetic, reference.want);
  if (answer.got.status != CallStatus::kReturned) {
    answer.fault = candidate.name + " did not return: " + answer.got.reason;
  } else if (!answer.got.structure_faults.empty()) {
    answer.fault = candidate.name + ": " + answer.got.structure_faults.front();
  }
  return answer;
}

Inputs inputs_of(const Case& c) { return make_inputs(c.problem, c.inputs, c.memory); }

struct Element {
  const char* tensor;
  std::int64_t b, h, row, column, linear;
};

std::string name_of(const Element& at) {
  return std::string(at.tensor) + " (batch " + std::to_string(at.b) + ", head " + std::to_string(at.h) + ", row " +
         std::to_string(at.row) + ", column " + std::to_string(at.column) + ")";
}

// The first sentence that `examine` returns for an element of `shape`.
std::string first_of(const char* tensor, const Shape& shape,
                     const std::function<std::string(const Element&)>& examine) {
  Element at{tensor, 0, 0, 0, 0, 0};
  for (at.b = 0; at.b < shape[0]; ++at.b) {
    for (at.h = 0; at.h < shape[1]; ++at.h) {
      for (at.row = 0; at.row < shape[2]; ++at.row) {
        for (at.column = 0; at.column < shape[3]; ++at.column, ++at.linear) {
          const std::string sentence = examine(at);
          if (!sentence.empty()) return sentence;
        }
      }
    }
  }
  return "";
}

double at_of(const Tensor& tensor, const Element& at) { return tensor.view().load(at.b, at.h, at.row, at.column); }

// The rounding of the sum itself is below one ulp of it.
double sum_up(double a, double b) { return std::nextafter(a + b, kInfinity); }

std::string differ_beyond_bounds(const Answer& a, const Answer& b) {
  for (const Answer* one : {&a, &b}) {
    if (!one->fault.empty()) return one->fault;
  }
  const auto compare_in = [](const char* name, const Tensor& got_a, const Tensor& got_b,
                             const std::vector<double>& bound_a, const std::vector<double>& bound_b) {
    return first_of(name, got_a.shape(), [&](const Element& at) -> std::string {
      const double one = at_of(got_a, at), other = at_of(got_b, at);
      const auto index = static_cast<std::size_t>(at.linear);
      const double bound = sum_up(bound_a[index], bound_b[index]);
      if (one == other || std::fabs(one - other) <= bound) return "";
      return name_of(at) + " is " + shortest(one) + " and " + shortest(other) + ", further apart than both bounds, " +
             shortest(bound);
    });
  };
  const std::string sentence = compare_in("out", a.got.out, b.got.out, a.bounds.out, b.bounds.out);
  return sentence.empty() ? compare_in("lse", a.got.lse, b.got.lse, a.bounds.lse, b.bounds.lse) : sentence;
}

std::string differ_in_bits(const Answer& a, const Answer& b, const std::function<bool(std::int64_t row)>& counts) {
  for (const Answer* one : {&a, &b}) {
    if (!one->fault.empty()) return one->fault;
  }
  const auto compare_in = [&](const char* name, const Tensor& got_a, const Tensor& got_b) {
    const TensorView one = got_a.view(), other = got_b.view();
    return first_of(name, one.shape, [&](const Element& at) -> std::string {
      const auto* bytes_a = one.at(at.b, at.h, at.row, at.column);
      const auto* bytes_b = other.at(at.b, at.h, at.row, at.column);
      if (!counts(at.row) || std::memcmp(bytes_a, bytes_b, size_bytes(one.dtype)) == 0) return "";
      return name_of(at) + " is " + shortest(at_of(got_a, at)) + " and " + shortest(at_of(got_b, at)) +
             ", not the same bits";
    });
  };
  const std::string sentence = compare_in("out", a.got.out, b.got.out);
  return sentence.empty() ? compare_in("lse", a.got.lse, b.got.lse) : sentence;
}

bool every_row(std::int64_t) { return true; }

// Calls visit(b, h, key, column) for every element of K or V.
void for_each_key(const Tensor& tensor,
                  const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& visit) {
  first_of("", tensor.shape(), [&](const Element& at) {
    visit(at.b, at.h, at.row, at.column);
    return std::string();
  });
}

KeyRange seen_by(const Case& c, std::int64_t row) {
  return visible_keys(band_of(c.problem.mask, c.problem.seqlen_q, c.problem.seqlen_kv), row, c.problem.seqlen_kv);
}

std::uint64_t draw(const Case& c, std::int64_t index) {
  return hashed_bits(c.inputs.seed, TensorRole::kSink, index, 0);
}

}  // namespace

std::string is_accepted(const Candidate& candidate, const Case& c) {
  const Reference reference = prepare(c, 1);
  Buffers buffers;
  const Dtype storage = c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, c.direction).arithmetic, storage);
  const CaseVerdict verdict =
      verify_case(compare(candidate.name, reference, arithmetic, run(candidate, reference, buffers)));
  return verdict.outcome == Outcome::kAccepted ? "" : std::string(to_string(verdict.outcome)) + ": " + verdict.reason;
}

std::string rows_are_convex_combinations(const Candidate& candidate, const Case& c) {
  const Inputs inputs = inputs_of(c);
  const Answer answer = answer_to(candidate, c, inputs);
  if (!answer.fault.empty()) return answer.fault;
  const TensorView v = inputs.v.view();
  return first_of("out", answer.got.out.shape(), [&](const Element& at) -> std::string {
    const KeyRange seen = seen_by(c, at.row);
    if (seen.count() == 0) return "";
    double low = kInfinity, high = -kInfinity;
    for (std::int64_t key = seen.begin; key < seen.end; ++key) {
      const double value = v.load(at.b, at.h / c.problem.heads_per_group(), key, at.column);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    const double got = at_of(answer.got.out, at), bound = answer.bounds.out[static_cast<std::size_t>(at.linear)];
    if (low - got <= bound && got - high <= bound) return "";
    return name_of(at) + " is " + shortest(got) + ", outside the values it sees, " + shortest(low) + " to " +
           shortest(high) + ", by more than its bound, " + shortest(bound);
  });
}

std::string constant_values_are_returned(const Candidate& candidate, const Case& c) {
  const Inputs inputs = inputs_of(c);
  const TensorView v = inputs.v.view();
  const auto constant = [&](std::int64_t b, std::int64_t h, std::int64_t column) {
    const std::int64_t head = c.memory.broadcast_kv ? 0 : h;
    return static_cast<double>(draw(c, (b * 64 + head) * 64 + column) % 31) / 8 - 2;
  };
  for_each_key(inputs.v,
               [&](auto b, auto h, auto key, auto column) { v.store(b, h, key, column, constant(b, h, column)); });
  const Answer answer = answer_to(candidate, c, inputs);
  if (!answer.fault.empty()) return answer.fault;
  return first_of("out", answer.got.out.shape(), [&](const Element& at) -> std::string {
    if (seen_by(c, at.row).count() == 0) return "";
    const double want = constant(at.b, at.h / c.problem.heads_per_group(), at.column);
    const double got = at_of(answer.got.out, at), bound = answer.bounds.out[static_cast<std::size_t>(at.linear)];
    if (std::fabs(got - want) <= bound) return "";
    return name_of(at) + " is " + shortest(got) + " where every value is " + shortest(want) + "; bound " +
           shortest(bound);
  });
}

std::string hidden_keys_change_nothing(const Candidate& candidate, const Case& c) {
  if (c.problem.seqlen_q == 0) return "";
  const auto row = static_cast<std::int64_t>(draw(c, 0) % static_cast<std::uint64_t>(c.problem.seqlen_q));
  const KeyRange kept = seen_by(c, row);
  const Inputs inputs = inputs_of(c), changed = inputs;
  for (const Tensor* tensor : {&changed.k, &changed.v}) {
    const TensorView view = tensor->view();
    for_each_key(*tensor, [&](auto b, auto h, auto key, auto column) {
      if (kept.begin <= key && key < kept.end) return;
      const double value = view.load(b, h, key, column);
      view.store(b, h, key, column, value == 0 ? 1 : -value);
    });
  }
  return differ_in_bits(answer_to(candidate, c, inputs), answer_to(candidate, c, changed), [&](std::int64_t other) {
    const KeyRange seen = seen_by(c, other);
    return seen.count() == 0 || (kept.begin <= seen.begin && seen.end <= kept.end);
  });
}

std::string key_order_changes_nothing(const Candidate& candidate, const Case& c) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(c.problem.seqlen_kv));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return draw(c, a) < draw(c, b); });
  const Inputs inputs = inputs_of(c), permuted = inputs;
  for (const auto& [from, to] : {std::pair{&inputs.k, &permuted.k}, std::pair{&inputs.v, &permuted.v}}) {
    const TensorView source = from->view(), target = to->view();
    for_each_key(*from, [&](auto b, auto h, auto key, auto column) {
      target.store(b, h, key, column, source.load(b, h, order[static_cast<std::size_t>(key)], column));
    });
  }
  return differ_beyond_bounds(answer_to(candidate, c, inputs), answer_to(candidate, c, permuted));
}

std::string grouped_heads_equal_repeated_heads(const Candidate& candidate, const Case& c) {
  const Inputs grouped = inputs_of(c);
  Case repeated = c;
  repeated.problem.heads_kv = c.problem.heads_q;
  const Dtype dtype = c.problem.dtype;
  const Inputs inputs{grouped.q, {dtype, repeated.problem.shape_k()}, {dtype, repeated.problem.shape_v()}};
  for (const auto& [from, to] : {std::pair{&grouped.k, &inputs.k}, std::pair{&grouped.v, &inputs.v}}) {
    const TensorView source = from->view(), target = to->view();
    for_each_key(*to, [&](auto b, auto h, auto key, auto column) {
      target.store(b, h, key, column, source.load(b, h / c.problem.heads_per_group(), key, column));
    });
  }
  return differ_in_bits(answer_to(candidate, c, grouped), answer_to(candidate, repeated, inputs), every_row);
}

std::string topology_changes_nothing(const Candidate& ring, const Case& c) {
  Case single = c;
  single.problem.topology = {Schedule::kSingle};
  const Inputs inputs = inputs_of(c);
  return differ_beyond_bounds(answer_to(ring, c, inputs), answer_to(ring, single, inputs));
}

std::string one_rank_equals_single(const Candidate& ring, const Candidate& single, const Case& c) {
  Case one = c;
  one.problem.topology = {Schedule::kSingle};
  const Inputs inputs = inputs_of(c);
  const Answer want = answer_to(single, one, inputs);
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    one.problem.topology = {schedule, 1};
    const std::string sentence = differ_in_bits(answer_to(ring, one, inputs), want, every_row);
    if (!sentence.empty()) return to_string(one.problem.topology) + ": " + sentence;
  }
  return "";
}

}  // namespace ringproof

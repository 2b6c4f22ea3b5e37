// With x exact and B the bound of got, |got - x| <= B. So if two exact answers are equal, |got_a - got_b| <= B_a + B_b;
// and if the exact answer lies in [low, high], low - got <= B and got - high <= B. Acceptance is written positively:
// a NaN satisfies no comparison.

#include "reference/judge/property_answer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "reference/spec/text.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The rounding of the sum itself is below one ulp of it.
double sum_up(double a, double b) { return std::nextafter(a + b, kInfinity); }

std::size_t linear_of(const Shape& shape, const ElementIndex& at) {
  return static_cast<std::size_t>(((at.batch * shape[1] + at.head) * shape[2] + at.row) * shape[3] + at.column);
}

double load(const Tensor& tensor, const ElementIndex& at) {
  return tensor.view().load(at.batch, at.head, at.row, at.column);
}

bool same_bits(const Tensor& a, const Tensor& b, const ElementIndex& at) {
  const auto* one = a.view().at(at.batch, at.head, at.row, at.column);
  const auto* other = b.view().at(at.batch, at.head, at.row, at.column);
  return std::memcmp(one, other, size_bytes(a.dtype())) == 0;
}

// What all properties ask for on one Case.
constexpr std::size_t kReferencesKept = 32;

bool same_numbers(const Inputs& one, const Inputs& other) {
  return one.q.bytes() == other.q.bytes() && one.k.bytes() == other.k.bytes() && one.v.bytes() == other.v.bytes() &&
         one.sink == other.sink;
}

PropertyResult rejected(std::string sentence) { return {Outcome::kRejected, std::move(sentence)}; }

struct Compared {
  const char* name;
  const Tensor &a, &b;
  const std::vector<double>&bounds_a, &bounds_b;
};

// `compared` counts the elements that were.
std::string difference_of(const Compared& pair, bool in_bits, const Counts& counts, std::int64_t& compared) {
  std::string sentence;
  for_each_element(pair.a.shape(), [&](const ElementIndex& at) {
    if (!sentence.empty() || !counts(at)) return;
    const double one = load(pair.a, at), other = load(pair.b, at);
    const auto both = [&] { return name_of(pair.name, at) + " is " + shortest(one) + " and " + shortest(other); };
    if (in_bits) {
      ++compared;
      if (!same_bits(pair.a, pair.b, at)) sentence = both() + ", not the same bits";
      return;
    }
    const double bound =
        sum_up(pair.bounds_a[linear_of(pair.a.shape(), at)], pair.bounds_b[linear_of(pair.b.shape(), at)]);
    if (!std::isnan(one) && !std::isnan(other) && !std::isfinite(bound)) return;  // a NaN differs whatever the bound
    ++compared;
    if (one == other || std::fabs(one - other) <= bound) return;
    sentence = both() + ", further apart than both bounds, " + shortest(bound);
  });
  return sentence;
}

}  // namespace

std::string name_of(const char* tensor, const ElementIndex& at) {
  return std::string(tensor) + " (batch " + std::to_string(at.batch) + ", head " + std::to_string(at.head) + ", row " +
         std::to_string(at.row) + ", column " + std::to_string(at.column) + ")";
}

void for_each_element(const Shape& shape, const std::function<void(const ElementIndex&)>& visit) {
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t row = 0; row < shape[2]; ++row) {
        for (std::int64_t column = 0; column < shape[3]; ++column) visit({b, h, row, column});
      }
    }
  }
}

PropertyResult nothing_to_compare() { return {Outcome::kUnsupported, "there is nothing to compare"}; }

std::shared_ptr<const Reference> PropertyReferences::of(const Case& c, const Inputs& inputs) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& one : latest_) {
      if (one->c == c && same_numbers(one->inputs, inputs)) return one;
    }
  }
  auto made = std::make_shared<const Reference>(prepare(c, inputs, 1));
  const std::lock_guard lock(mutex_);
  latest_.push_front(made);
  if (latest_.size() > kReferencesKept) latest_.pop_back();
  return made;
}

PropertyAnswer answer_to(const Candidate& candidate, const Case& c, const PropertyMemory& memory,
                         const Inputs& inputs) {
  PropertyAnswer answer;
  answer.c = c;
  // Inputs that no recipe made are bounded as any inputs are.
  answer.c.inputs = {RecipeKind::kGauss, 0, "", c.inputs.seed};
  const Problem& problem = answer.c.problem;
  PropertyReferences own;
  const std::shared_ptr<const Reference> shared =
      (memory.references != nullptr ? memory.references : &own)->of(answer.c, inputs);
  const Reference& reference = *shared;
  answer.got = run(candidate, reference, memory.buffers);
  if (answer.got.status == CallStatus::kUnsupported) {
    answer.trouble = {Outcome::kUnsupported, answer.got.reason};
    return answer;
  }
  if (answer.got.status == CallStatus::kRefused) {
    answer.trouble = {Outcome::kUnsupported, answer.got.reason, true};
    return answer;
  }
  if (answer.got.status != CallStatus::kReturned) {
    answer.trouble = {Outcome::kInconclusive, "a call for a property did not return: " + answer.got.reason};
    return answer;
  }
  const Description description = candidate.describe(problem.dtype, c.direction);
  answer.is_deterministic = description.has(kForwardDeterministic);
  answer.is_batch_invariant = answer.is_deterministic && description.has(kBatchInvariant);
  answer.bounds = bound_forward(answer.c, resolve(description.arithmetic, problem.dtype), reference.want);
  if (answer.got.lse_leaves_sink_out) answer.bounds.lse = answer.bounds.lse_keys;
  if (!answer.got.structure_faults.empty()) answer.trouble = rejected(answer.got.structure_faults.front());
  return answer;
}

PropertyResult differ(const PropertyAnswer& a, const PropertyAnswer& b, bool in_bits, const Counts& counts) {
  for (const PropertyAnswer* one : {&a, &b}) {
    if (one->trouble.outcome != Outcome::kAccepted) return one->trouble;
  }
  const Visibility visibility(a.c.problem);
  const Counts defined = [&](const ElementIndex& at) {
    if (counts && !counts(at)) return false;
    return a.got.empty_rows_defined || visibility.count(at.row) > 0;
  };
  std::int64_t compared = 0;
  std::string sentence =
      difference_of({"out", a.got.out, b.got.out, a.bounds.out, b.bounds.out}, in_bits, defined, compared);
  if (sentence.empty() && a.got.has_lse && b.got.has_lse) {
    sentence = difference_of({"lse", a.got.lse, b.got.lse, a.bounds.lse, b.bounds.lse}, in_bits, defined, compared);
  }
  if (!sentence.empty()) return rejected(sentence);
  return compared > 0 ? PropertyResult{} : nothing_to_compare();
}

PropertyResult leave_limits(const PropertyAnswer& answer,
                            const std::function<std::pair<double, double>(const ElementIndex&)>& limits) {
  if (answer.trouble.outcome != Outcome::kAccepted) return answer.trouble;
  std::string sentence;
  std::int64_t compared = 0;
  for_each_element(answer.got.out.shape(), [&](const ElementIndex& at) {
    if (!sentence.empty()) return;
    const auto [low, high] = limits(at);
    if (low > high) return;
    const double got = load(answer.got.out, at), bound = answer.bounds.out[linear_of(answer.got.out.shape(), at)];
    if (!std::isnan(got) && !std::isfinite(bound)) return;
    ++compared;
    if (low - got <= bound && got - high <= bound) return;
    sentence = name_of("out", at) + " is " + shortest(got) + ", outside " + shortest(low) + " to " + shortest(high) +
               " by more than its bound, " + shortest(bound);
  });
  if (!sentence.empty()) return rejected(sentence);
  return compared > 0 ? PropertyResult{} : nothing_to_compare();
}

}  // namespace ringproof

// Bits are held to bits, so no bound takes part. Rows that the contract leaves open (empty ones nobody defined, ones
// that see a NaN placed by nan2) may hold anything at every call, and a NaN equals a NaN.

#include "reference/judge/session.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "reference/judge/power.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr std::size_t kAnswersKept = 8;
constexpr double kAloneMsMax = 1000;  // a long call is not repeated for its last batch element

bool asks_lse(std::uint64_t call, const Case& c) {
  const bool lse_is_the_point = c.inputs.kind == RecipeKind::kWalshProbe || c.inputs.kind == RecipeKind::kLargeOffset ||
                                size_bytes(c.problem.dtype) == 1;
  return lse_is_the_point || call % 7 != 5;
}

bool same_bits(const TensorView& one, const TensorView& other, std::int64_t b_one, std::int64_t b_other, std::int64_t h,
               std::int64_t s, std::int64_t d) {
  if (std::memcmp(one.at(b_one, h, s, d), other.at(b_other, h, s, d), size_bytes(one.dtype)) == 0) return true;
  return std::isnan(one.load(b_one, h, s, d)) && std::isnan(other.load(b_other, h, s, d));
}

// Where batch element `b` of `got` has other bits than `b_earlier` of `earlier`; "" nowhere.
std::string difference(const Visibility& visibility, const Got& got, std::int64_t b, const Got& earlier,
                       std::int64_t b_earlier) {
  std::int64_t count = 0;
  std::string first;
  const auto hold = [&](const char* name, const Tensor& one_tensor, const Tensor& other_tensor) {
    const TensorView one = one_tensor.view(), other = other_tensor.view();
    for (std::int64_t h = 0; h < one.shape[1]; ++h) {
      for (std::int64_t s = 0; s < one.shape[2]; ++s) {
        const auto row = static_cast<std::size_t>((b * one.shape[1] + h) * one.shape[2] + s);
        const bool is_spoiled = !got.rows_spoiled.empty() && got.rows_spoiled[row];
        if (is_spoiled || (!got.empty_rows_defined && visibility.count(s) == 0)) continue;
        for (std::int64_t d = 0; d < one.shape[3]; ++d) {
          if (same_bits(one, other, b, b_earlier, h, s, d) || count++ > 0) continue;
          first = std::string(name) + " (batch " + std::to_string(b) + ", head " + std::to_string(h) + ", row " +
                  std::to_string(s) + ", column " + std::to_string(d) + ") is " + std::to_string(one.load(b, h, s, d)) +
                  " and was " + std::to_string(other.load(b_earlier, h, s, d));
        }
      }
    }
  };
  hold("out", got.out, earlier.out);
  if (got.has_lse && earlier.has_lse) hold("lse", got.lse, earlier.lse);
  return count == 0 ? "" : std::to_string(count) + " elements differ, the first " + first;
}

Tensor batch_element(const Tensor& whole, std::int64_t b) {
  Shape shape = whole.shape();
  shape[0] = 1;
  Tensor one(whole.dtype(), shape);
  TensorView from = whole.view();
  if (element_count(shape) == 0) return one;
  from.data = from.at(b, 0, 0, 0);
  from.shape[0] = 1;
  copy_elements(from, one.view());
  return one;
}

}  // namespace

Evidence Session::judge(const Reference& reference, Got* kept, SharedLimits* shared) {
  assert_that(shared == nullptr || &shared->reference() == &reference, "the limits are those of this reference");
  const Dtype dtype = reference.c.problem.dtype;
  Got got = run(candidate_, reference, buffers_, asks_lse(calls_, reference.c));
  const Description description = got.description;
  const Arithmetic arithmetic = resolve(description.arithmetic, dtype);
  Evidence evidence = shared != nullptr && got.status == CallStatus::kReturned
                          ? compare(candidate_.name, reference, shared->of(arithmetic, tensors_in_run_), got)
                          : compare(candidate_.name, reference, arithmetic, got, tensors_in_run_);
  if (got.status == CallStatus::kReturned) {
    evidence.hidden = hidden_by_declaration(reference, description.arithmetic, description.has(kWritesLse),
                                            tensors_in_run_, evidence.zeros);
    evidence.lse_withheld = !got.has_lse && description.has(kWritesLse);
    hold_to_alone(reference, description, got, evidence);
    hold_to_earlier(reference, description, got, evidence);
    if (kept != nullptr) *kept = got;
    answers_.push_back({evidence.case_line, calls_, std::move(got)});
    if (answers_.size() > kAnswersKept) answers_.pop_front();
  }
  ++calls_;
  latest_ = evidence;
  return evidence;
}

void Session::hold_to_earlier(const Reference& reference, const Description& description, const Got& got,
                              Evidence& evidence) {
  const Visibility visibility(reference.c.problem);
  for (const Answer& answer : answers_) {
    if (answer.case_line != evidence.case_line) continue;
    for (std::int64_t b = 0; b < reference.c.problem.batch; ++b) {
      const std::string differs = difference(visibility, got, b, answer.got, b);
      if (differs.empty()) continue;
      const std::string sentence = "call " + std::to_string(calls_ + 1) + " does not repeat the bits of call " +
                                   std::to_string(answer.call + 1) + " on the same Case: " + differs;
      if (description.has(kForwardDeterministic)) {
        evidence.determinism_faults.push_back(sentence);
      } else {
        evidence.warnings.push_back(sentence + "; determinism is not claimed");
      }
      return;
    }
  }
}

void Session::hold_to_alone(const Reference& reference, const Description& description, const Got& got,
                            Evidence& evidence) {
  const Case& c = reference.c;
  const bool is_asked =
      description.has(kBatchInvariant) && c.problem.batch > 1 && c.memory.nan_level == 0 && got.time_ms <= kAloneMsMax;
  if (!is_asked) return;
  const auto b = static_cast<std::int64_t>(calls_ % static_cast<std::uint64_t>(c.problem.batch));
  Reference alone{c,
                  {batch_element(reference.inputs_asked().q, b), batch_element(reference.inputs_asked().k, b),
                   batch_element(reference.inputs_asked().v, b), reference.inputs_asked().sink},
                  {},
                  0};
  alone.c.problem.batch = 1;
  const Got got_alone = run(candidate_, alone, buffers_, got.has_lse);
  for (const std::string& fault : got_alone.structure_faults) {
    evidence.structure_faults.push_back("with batch element " + std::to_string(b) + " alone: " + fault);
  }
  if (got_alone.status != CallStatus::kReturned) {
    evidence.left_open.push_back("batch element " + std::to_string(b) + " alone was not answered: " + got_alone.reason);
    return;
  }
  const std::string differs = difference(Visibility(c.problem), got, b, got_alone, 0);
  if (differs.empty()) return;
  evidence.determinism_faults.push_back("it claims batch invariance, and batch element " + std::to_string(b) +
                                        " has other bits inside its batch than alone: " + differs);
}

std::optional<Evidence> Session::end() {
  std::vector<std::string> faults = written_late(buffers_);
  if (faults.empty() || !latest_) return std::nullopt;
  Evidence evidence = *latest_;
  evidence.structure_faults = std::move(faults);
  return evidence;
}

}  // namespace ringproof

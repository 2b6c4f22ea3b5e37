#include "reference/judge/verify.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "reference/spec/error.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

std::string index_text(const std::array<std::int64_t, 4>& index) {
  return "(batch " + std::to_string(index[0]) + ", head " + std::to_string(index[1]) + ", row " +
         std::to_string(index[2]) + ", column " + std::to_string(index[3]) + ")";
}

// Few digits: want and got are exact, what is derived from them need not be.
std::string rounded(double value, int digits = 3) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return text.data();
}

std::string outside_sentence(const TensorEvidence& t, const std::string& bound = "bound") {
  return std::to_string(t.count_outside) + " of " + std::to_string(t.count) + " elements of " + t.name +
         " lie outside their " + bound + "; the worst " + index_text(t.worst_index) + ": want " + shortest(t.want) +
         ", got " + shortest(t.got) + ", error " + rounded(t.error) + ", bound " + rounded(t.bound) + ", bound used " +
         share_text(t.bound_used);
}

bool all_inside(const TensorEvidence& t) { return t.count_outside == 0; }

std::string noise_sentence(const NoiseSums& sums, const std::string& where) {
  return "the noise figure of out is " + rounded(noise_figure(sums)) + " over " + std::to_string(sums.rows) + " rows" +
         where + ", beyond 1.05 by more than four standard errors";
}

// "out is 0.27 % too small over 560 rows: bias -0.0027 with standard error 2.1e-05, at most 2.7e-06 allowed".
std::string bias_sentence(const BiasSums& sums, double limit) {
  const double beta = bias(sums);
  return "out is " + rounded(100 * std::fabs(beta), 2) + " % too " + (beta < 0 ? "small" : "large") + " over " +
         std::to_string(sums.rows) + " rows: bias " + rounded(beta, 2) + " with standard error " +
         rounded(bias_error(sums), 2) + ", beyond " + rounded(limit, 2) + " by more than five of them";
}

bool enough_judged(const TensorEvidence& t) {
  return static_cast<double>(t.count_not_judged) <= kShareNotJudgedMax * static_cast<double>(t.count);
}

// An answer without elements has every one of them right; one whose every element may be anything shows nothing.
bool nothing_is_defined(const std::vector<TensorEvidence>& tensors) {
  std::int64_t count = 0, count_undefined = 0;
  for (const TensorEvidence& t : tensors) count += t.count, count_undefined += t.count_undefined;
  return count == 0 && count_undefined > 0;
}

template <class Texts>
std::string joined(const Texts& texts, const char* between) {
  std::string sum;
  for (const auto& text : texts) sum += (sum.empty() ? "" : between) + std::string(text);
  return sum;
}

// "the property's name" of "the property's name: what did not hold"
std::string property_of(const std::string& fault) { return fault.substr(0, fault.find(": ")); }

// Which tensor and what of it, whatever the count, the place and the rank: 6 elements of out, or 600.
std::string kind_of(const std::string& fault) {
  std::string kind = fault;
  for (const char* from : {" (", ", the first", " on rank"}) kind = kind.substr(0, kind.find(from));
  std::erase_if(kind, [](char letter) { return '0' <= letter && letter <= '9'; });
  return kind.substr(std::min(kind.find_first_not_of(' '), kind.size()));
}

// A check that rejects, and why.
struct Rejection {
  std::string check, sentence;
};

// Per head where a head has rows enough, and over all heads; one sentence, of the head that says where.
template <class Reject>
void reject_noise(const NoiseEvidence& noise, const Reject& reject) {
  const bool head_accepted = noise_is_accepted(noise.worst_head);
  if (!noise.is_judged || (head_accepted && noise_is_accepted(noise.all_heads))) return;
  const std::string where =
      " of batch " + std::to_string(noise.worst_index[0]) + ", head " + std::to_string(noise.worst_index[1]);
  reject("noise figure of out",
         head_accepted ? noise_sentence(noise.all_heads, " of all heads") : noise_sentence(noise.worst_head, where));
}

// In the order of judgement.md; a check that rejects appears once.
std::vector<Rejection> rejections_of(const Evidence& evidence) {
  std::vector<Rejection> all;
  const auto reject = [&](const std::string& check, const std::string& sentence) { all.push_back({check, sentence}); };
  const auto reject_faults = [&](const std::string& check, const std::vector<std::string>& faults) {
    if (!faults.empty()) reject(check, joined(faults, "; "));
  };
  // A call that did not return still shows what the one before it wrote late.
  reject_faults("structure", evidence.structure_faults);
  if (evidence.status != CallStatus::kReturned) return all;
  if (!all_inside(evidence.by_value)) reject(evidence.by_value.name, outside_sentence(evidence.by_value));
  for (const TensorEvidence& tensor : evidence.tensors) {
    if (!all_inside(tensor)) reject("bound of " + tensor.name, outside_sentence(tensor));
  }
  for (const TensorEvidence& tensor : evidence.probabilistic) {
    if (!evidence.is_independent || all_inside(tensor)) continue;
    reject("probabilistic bound of " + tensor.name, outside_sentence(tensor, "probabilistic bound"));
  }
  reject_noise(evidence.noise, reject);
  if (evidence.bias.is_judged && !bias_is_accepted(evidence.bias.sums, evidence.bias.limit)) {
    reject("bias of out", bias_sentence(evidence.bias.sums, evidence.bias.limit));
  }
  reject_faults("determinism", evidence.determinism_faults);
  reject_faults("traffic", evidence.traffic_faults);
  reject_faults("property", evidence.property_faults);
  return all;
}

// What was really judged: dtypes, masks, the largest head dim.
void describe_scope(std::span<const Evidence> evidence, Verdict& verdict) {
  std::set<Dtype> dtypes;
  std::set<MaskKind> masks;
  std::int64_t head_dim_max = 0;
  RowsJudged least;  // the sample that sees the least
  for (const Evidence& one : evidence) {
    if (one.status != CallStatus::kReturned) continue;
    if (one.rows.is_sample() && (!least.is_sample() || one.rows.drawn < least.drawn)) least = one.rows;
    dtypes.insert(one.dtype);
    masks.insert(one.mask);
    head_dim_max = std::max(head_dim_max, one.head_dim_max);
  }
  verdict.scope = verdict.scope_short = "nothing judged";
  if (dtypes.empty()) return;
  std::vector<std::string> dtype_names, mask_names;
  for (const Dtype dtype : dtypes) dtype_names.emplace_back(to_string(dtype));
  for (const MaskKind mask : masks) mask_names.emplace_back(to_string(mask));
  const std::string head_dims = ", d <= " + std::to_string(head_dim_max);
  const std::string count_masks = std::to_string(masks.size()) + (masks.size() == 1 ? " mask" : " masks");
  verdict.scope = joined(dtype_names, " ") + " " + joined(mask_names, " ") + head_dims;
  if (least.is_sample()) verdict.scope += ", " + sampling_sentence(least);
  verdict.scope_short = joined(dtype_names, " ") + ", " + count_masks + head_dims;
}

}  // namespace

std::string share_text(double bound_used) {
  for (int digits = 3; digits < 7; ++digits) {
    const std::string text = rounded(bound_used, digits);
    if (text != "1" || bound_used == 1) return text;
  }
  return bound_used < 1 ? "0.999999" : "1.00001";
}

const char* to_string(Outcome outcome) {
  static constexpr std::array kNames{"accepted", "unsupported", "inconclusive", "rejected"};
  return kNames.at(static_cast<std::size_t>(outcome));
}

namespace {

// Cases of equal data share the draws of their roundings, which count once: of each data the evidence with the most
// rows, by `rows_of` (none where the check is not judged), the first among equals.
template <class RowsOf>
std::vector<const Evidence*> of_distinct_data(std::span<const Evidence> evidence, const RowsOf& rows_of) {
  std::map<std::string, const Evidence*> most;
  for (const Evidence& one : evidence) {
    if (rows_of(one) == 0) continue;
    const auto [place, is_new] = most.try_emplace(one.data, &one);
    if (!is_new && rows_of(*place->second) < rows_of(one)) place->second = &one;
  }
  std::vector<const Evidence*> distinct;
  for (const auto& [data, one] : most) distinct.push_back(one);
  return distinct;
}

// Rows of all Cases where a check is judged, in one statistic; it rejects what no single Case has rows enough to show.
void decide_pooled(std::span<const Evidence> evidence, Verdict& verdict) {
  const auto of_noise = [](const Evidence& one) { return one.noise.is_judged ? one.noise.all_heads.rows : 0; };
  const auto of_bias = [](const Evidence& one) { return one.bias.is_judged ? one.bias.sums.rows : 0; };
  for (const Evidence* one : of_distinct_data(evidence, of_noise)) verdict.noise.add(one->noise.all_heads);
  for (const Evidence* one : of_distinct_data(evidence, of_bias)) {
    verdict.bias.add(one->bias.sums);
    verdict.bias_limit = std::max(verdict.bias_limit, one->bias.limit);
  }
  std::vector<std::string> sentences;
  if (!noise_is_accepted(verdict.noise)) {
    verdict.failing_checks.emplace_back("pooled noise figure of out");
    sentences.push_back(noise_sentence(verdict.noise, " of all Cases"));
  }
  if (!bias_is_accepted(verdict.bias, verdict.bias_limit)) {
    verdict.failing_checks.emplace_back("pooled bias of out");
    sentences.push_back("over all Cases " + bias_sentence(verdict.bias, verdict.bias_limit));
  }
  verdict.reason = joined(sentences, "; ");
  if (!sentences.empty()) verdict.outcome = Outcome::kRejected;
}

// Beside every verdict on fp8 storage, and wherever bounds are so wide that it matters.
void show_zero_control(std::span<const Evidence> evidence, Verdict& verdict) {
  ZeroControl zeros;
  bool is_of_fp8 = false;
  for (const Evidence& one : evidence) {
    if (one.status != CallStatus::kReturned) continue;
    zeros = merged(zeros, one.zeros);
    is_of_fp8 = is_of_fp8 || size_bytes(one.dtype) == 1;
  }
  if (zeros.judged == 0 || !(is_of_fp8 || zeros.is_warning())) return;
  std::string against = "elements of O that an all-zero kernel would leave inside their bound";
  if (zeros.is_warning()) against += "; warning: more than half of what was judged could be zeros";
  verdict.facts.push_back({"zeros inside the bound", zeros.share(), "1", against});
}

}  // namespace

CaseVerdict verify_case(const Evidence& evidence) {
  const auto decide = [&](Outcome outcome, const std::string& reason) {
    return CaseVerdict{evidence.case_line, outcome, reason, "", evidence.attribution, evidence.warnings};
  };
  const std::vector<Rejection> rejections = rejections_of(evidence);
  if (!rejections.empty()) {
    std::vector<std::string> sentences;
    for (const Rejection& one : rejections) sentences.push_back(one.sentence);
    return decide(Outcome::kRejected, joined(sentences, "; "));
  }
  switch (evidence.status) {
    case CallStatus::kUnsupported:
    case CallStatus::kRefused: return decide(Outcome::kUnsupported, evidence.reason);
    case CallStatus::kFailed: return decide(Outcome::kInconclusive, evidence.reason);
    case CallStatus::kReturned: break;
  }
  if (!evidence.left_open.empty()) return decide(Outcome::kInconclusive, joined(evidence.left_open, "; "));
  if (!evidence.hidden.empty()) return decide(Outcome::kInconclusive, joined(evidence.hidden, "; "));
  for (const TensorEvidence& tensor : evidence.tensors) {
    if (!enough_judged(tensor)) {
      return decide(Outcome::kInconclusive, std::to_string(tensor.count_not_judged) + " of " +
                                                std::to_string(tensor.count) + " elements of " + tensor.name +
                                                " cannot be judged: the declared Arithmetic promises too little there");
    }
  }
  if (nothing_is_defined(evidence.tensors)) {
    return decide(Outcome::kUnsupported, "no element of its answer is defined: its rows see no key, NaN or infinity");
  }
  return decide(Outcome::kAccepted, "");
}

std::vector<std::string> failing_checks(const Evidence& evidence) {
  std::vector<std::string> checks;
  for (const Rejection& one : rejections_of(evidence)) checks.push_back(one.check);
  return checks;
}

std::string failing_check(const Evidence& evidence) {
  const std::vector<std::string> checks = failing_checks(evidence);
  return checks.empty() ? "" : checks.front();
}

std::string failing_reason(const Evidence& evidence) {
  const std::string check = failing_check(evidence);
  if (check == "structure") return check + ": " + kind_of(evidence.structure_faults.front());
  if (check == "determinism") return check + ": " + kind_of(evidence.determinism_faults.front());
  if (check == "traffic") return check + ": " + kind_of(evidence.traffic_faults.front());
  if (check == "property") return check + ": " + property_of(evidence.property_faults.front());
  return check;
}

Verdict verify(std::span<const Evidence> evidence, const std::string& contract) {
  Verdict verdict{evidence.empty() ? "" : evidence.front().candidate, Outcome::kAccepted};
  describe_scope(evidence, verdict);
  verdict.contract = contract;
  for (const Evidence& one : evidence) {
    assert_that(one.candidate == verdict.candidate, "a verdict speaks of one candidate");
    verdict.cases.push_back(verify_case(one));
    const Outcome outcome = verdict.cases.back().outcome;
    ++verdict.count_cases;
    verdict.count_accepted += outcome == Outcome::kAccepted;
    verdict.count_inconclusive += outcome == Outcome::kInconclusive;
    verdict.count_rejected += outcome == Outcome::kRejected;
    verdict.count_unsupported += outcome == Outcome::kUnsupported && one.status != CallStatus::kRefused;
    verdict.count_refused += one.status == CallStatus::kRefused;
    verdict.time_ms += one.candidate_ms;
    verdict.bound_used = std::max(verdict.bound_used, one.by_value.bound_used);
    for (const TensorEvidence& tensor : one.tensors) {
      verdict.bound_used = std::max(verdict.bound_used, tensor.bound_used);
      if (one.status == CallStatus::kReturned) verdict.count_elements += tensor.count - tensor.count_not_judged;
    }
    if (outcome != Outcome::kUnsupported) verdict.outcome = worst(verdict.outcome, outcome);
  }
  std::int64_t count_properties = 0;
  for (const Evidence& one : evidence) count_properties += one.count_properties;
  if (count_properties > 0) {
    verdict.facts.push_back({"properties held", static_cast<double>(count_properties), "1", "properties asked of it"});
  }
  for (const Evidence& one : evidence) verdict.count_properties_refused += one.count_properties_refused;
  if (verdict.count_properties_refused > 0) {
    verdict.facts.push_back({"properties refused", static_cast<double>(verdict.count_properties_refused), "1",
                             "asked of Cases that it declares and refused"});
  }
  std::int64_t count_left_out = 0;
  for (const Evidence& one : evidence) count_left_out += one.count_properties_left_out;
  if (count_left_out > 0) {
    verdict.facts.push_back({"properties left out", static_cast<double>(count_left_out), "1",
                             "asked of Cases on which there is nothing to compare, or outside its declaration"});
  }
  const auto withheld =
      std::count_if(evidence.begin(), evidence.end(), [](const Evidence& e) { return e.lse_withheld; });
  if (withheld > 0) {
    verdict.facts.push_back(
        {"calls without lse", static_cast<double>(withheld), "1", "calls that could have asked it"});
  }
  show_zero_control(evidence, verdict);
  decide_pooled(evidence, verdict);
  const bool judged = verdict.count_elements + verdict.count_inconclusive + verdict.count_rejected > 0;
  if (!judged) verdict.outcome = Outcome::kInconclusive;
  return verdict;
}

std::string contract_of(const Description& description, Dtype storage) {
  std::vector<std::string> departs = looser_than_default(description.arithmetic, storage);
  if (!description.has(kNanSafeUnseen)) departs.emplace_back("NaN in unseen slots may leak");
  if (!description.has(kNanSafeHidden)) departs.emplace_back("NaN in hidden slots may leak");
  if (!description.has(kEmptyRowsDefined)) departs.emplace_back("empty rows undefined");
  if (!description.has(kWritesLse)) departs.emplace_back("no lse");
  if (description.has(kLseLeavesSinkOut)) departs.emplace_back("lse leaves the sink out");
  return departs.empty() ? "reference contract" : "as declared: " + joined(departs, ", ");
}

}  // namespace ringproof

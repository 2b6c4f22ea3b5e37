// Rounds outermost, then Cases, kernels inside: one reference serves all kernels of a round, and each has a session and
// a set of evidence of its own, as it has in a gate.

#include "ci/false_alarms_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <tuple>

#include "ci/candidates.h"
#include "ci/judge_one.h"
#include "ci/repeat.h"
#include "property_tests/correct/unusual.h"
#include "property_tests/mutants/mutants.h"
#include "reference/judge/coverage_floor.h"
#include "reference/judge/properties.h"
#include "reference/judge/verify.h"
#include "reference/oracle/parallel.h"

namespace ringproof {
namespace {

// Beyond the seeds of any tier's Cases: two Cases of one shape in different rounds never meet.
constexpr std::uint64_t kSeedsPerRound = 1 << 20;

Case moved(Case c, std::int64_t round) {
  if (c.inputs.kind != RecipeKind::kReal) c.inputs.seed += kSeedsPerRound * static_cast<std::uint64_t>(round);
  return c;
}

// One kernel on one round of Cases.
struct KernelRun {
  Candidate kernel;
  Session session;
  PropertyExaminer examiner{};
  std::map<Dtype, std::vector<Evidence>> evidence{};
  std::map<Dtype, Coverage> coverage{};
};

class Largest {
 public:
  void note(const LargestSeen& seen) {
    const auto [found, is_new] = all_.try_emplace({seen.statistic, seen.dtype, seen.over}, seen);
    if (is_new || std::isnan(found->second.used())) return;  // a NaN stands, once seen
    if (!(seen.used() <= found->second.used())) found->second = seen;
  }

  void note(const Evidence& one) {
    const auto bound = [&](const std::string& check, const TensorEvidence& tensor) {
      if (tensor.count == 0) return;
      note({check, one.dtype, "one Case", tensor.bound_used, 1, one.candidate, one.case_line});
    };
    bound(one.by_value.name, one.by_value);
    for (const TensorEvidence& tensor : one.tensors) bound("bound of " + tensor.name, tensor);
    for (const TensorEvidence& tensor : one.probabilistic) {
      if (one.is_independent) bound("probabilistic bound of " + tensor.name, tensor);
    }
    if (one.noise.is_judged) {
      note(one.noise.all_heads, {"", one.dtype, "one Case", 0, 1, one.candidate, one.case_line});
      note(one.noise.worst_head, {"", one.dtype, "one head", 0, 1, one.candidate, one.case_line});
    }
    if (one.bias.is_judged) {
      note(one.bias.sums, one.bias.limit, {"", one.dtype, "one Case", 0, 1, one.candidate, one.case_line});
    }
  }

  void note(const NoiseSums& sums, LargestSeen seen) {
    if (sums.rows < kRowsMin) return;
    seen.statistic = "noise figure of out", seen.value = sure_noise(sums), seen.limit = kNoiseMeanMax;
    note(seen);
  }

  void note(const BiasSums& sums, double limit, LargestSeen seen) {
    if (sums.rows < kRowsMin) return;
    seen.statistic = "bias of out", seen.value = sure_bias(sums), seen.limit = limit;
    note(seen);
  }

  std::vector<LargestSeen> all() const {
    std::vector<LargestSeen> list;
    for (const auto& [key, seen] : all_) list.push_back(seen);
    return list;
  }

 private:
  std::map<std::tuple<std::string, Dtype, std::string>, LargestSeen> all_;
};

// Checks 4 and 5 over everything a kernel showed in one storage dtype.
struct AllRuns {
  NoiseSums noise;
  BiasSums bias;
  double bias_limit = 0;
};

// A Case that the declaration covers is to be accepted: a refusal leaves it undecided, too.
bool is_alarm(const Evidence& evidence, Outcome outcome) {
  return outcome == Outcome::kRejected || outcome == Outcome::kInconclusive || evidence.status == CallStatus::kRefused;
}

class FalseAlarmCount {
 public:
  FalseAlarmCount(bool promises_a_tier, int threads) : promises_a_tier_(promises_a_tier), threads_(threads) {}

  void begin(const std::vector<Candidate>& kernels, std::int64_t cases) {
    runs_.clear();
    again_.reset();
    cases_done_ = 0;
    for (const Candidate& kernel : kernels) runs_.push_back({kernel, Session(kernel, cases)});
  }

  void judge(const Case& c) {
    std::optional<Reference> reference;
    Coverage coverage;
    try {
      reference = prepare(c, threads_);
      if (!reference->inputs_with_special) coverage = coverage_of(*reference);
    } catch (const std::exception& error) {  // no kernel is judged on it, and none accepted
      for (const KernelRun& run : runs_) note(failed_evidence(run.kernel.name, c, error.what()));
      ++cases_done_;
      return;
    }
    const std::vector<Evidence> shown = judged(*reference, true);
    for (std::size_t at = 0; at < runs_.size(); ++at) {
      note(shown[at]);
      count(shown[at]);
      if (shown[at].status != CallStatus::kReturned) continue;
      ++report_.judgements;
      largest_.note(shown[at]);
      const auto [found, is_new] = runs_[at].coverage.try_emplace(shown[at].dtype, coverage);
      if (!is_new) found->second = both(found->second, coverage);
    }
    for (std::size_t at = 0; at < runs_.size(); ++at) runs_[at].evidence[shown[at].dtype].push_back(shown[at]);
    judge_again();
    if (++cases_done_ % kCasesPerRepeat == 1 && reference->time_ms < kRepeatMsMax) again_ = std::move(reference);
  }

  // A run that was cut short promises no coverage, and is held to everything else.
  void end(bool is_complete) {
    if (is_complete) judge_again();
    for (KernelRun& run : runs_) {
      if (const std::optional<Evidence> late = run.session.end()) note(*late);
      for (const auto& [dtype, evidence] : run.evidence) decide(run, dtype, evidence, is_complete && promises_a_tier_);
      report_.runs_done += is_complete;
    }
  }

  FalseAlarmReport finished() {
    for (const auto& [key, all] : all_runs_) {
      const LargestSeen seen{"", key.second, "all runs of a kernel", 0, 1, key.first, ""};
      largest_.note(all.noise, seen);
      largest_.note(all.bias, all.bias_limit, seen);
    }
    report_.largest = largest_.all();
    return std::move(report_);
  }

 private:
  void judge_again() {
    if (!again_) return;
    for (const Evidence& one : judged(*again_, false)) note(one);
    again_.reset();
  }

  std::vector<Evidence> judged(const Reference& reference, bool with_properties) {
    std::vector<Evidence> shown(runs_.size());
    SharedLimits limits(reference);
    parallel_for(static_cast<std::int64_t>(runs_.size()), threads_, [&](std::int64_t at) {
      KernelRun& run = runs_[static_cast<std::size_t>(at)];
      Evidence& evidence = shown[static_cast<std::size_t>(at)] = judge_one(run.session, reference, nullptr, &limits);
      if (with_properties)
        run.examiner.examine(run.kernel, reference.c, {run.session.buffers(), &references_}, evidence);
    });
    return shown;
  }

  void note(const Evidence& evidence) {
    const CaseVerdict verdict = verify_case(evidence);
    if (!is_alarm(evidence, verdict.outcome)) return;
    report_.alarms.push_back(
        {evidence.candidate, evidence.dtype, verdict.case_line, failing_checks(evidence), verdict.reason});
  }

  void count(const Evidence& evidence) {
    const bool is_outside =
        verify_case(evidence).outcome == Outcome::kUnsupported && evidence.status != CallStatus::kRefused;
    report_.outside += is_outside;
    report_.refused += evidence.status == CallStatus::kRefused;
    report_.properties_held += evidence.count_properties;
    report_.properties_left_out += evidence.count_properties_left_out;
  }

  void decide(const KernelRun& run, Dtype dtype, const std::vector<Evidence>& evidence, bool promises_coverage) {
    const Description description = run.kernel.describe(dtype, Direction::kForward);
    const Verdict verdict = verify(evidence, contract_of(description, dtype));
    if (verdict.count_unsupported == verdict.count_cases) return;
    const std::string& name = run.kernel.name;
    if (!verdict.failing_checks.empty()) {
      report_.alarms.push_back({name, dtype, "", verdict.failing_checks, verdict.reason});
    }
    if (promises_coverage && verdict.count_accepted == 0) {
      report_.alarms.push_back({name, dtype, "", {}, "no Case of the tier accepts it"});
    }
    if (promises_coverage && run.coverage.contains(dtype)) {
      for (const std::string& sentence : not_exercised(run.coverage.at(dtype), description, dtype)) {
        report_.alarms.push_back({name, dtype, "", {}, sentence});
      }
    }
    const LargestSeen seen{"", dtype, "one run", 0, 1, name, ""};
    largest_.note(verdict.noise, seen);
    largest_.note(verdict.bias, verdict.bias_limit, seen);
    AllRuns& all = all_runs_[{name, dtype}];
    all.noise.add(verdict.noise);
    all.bias.add(verdict.bias);
    all.bias_limit = std::max(all.bias_limit, verdict.bias_limit);
  }

  bool promises_a_tier_;
  int threads_;
  std::deque<KernelRun> runs_;
  std::optional<Reference> again_;
  PropertyReferences references_;
  std::int64_t cases_done_ = 0;
  std::map<std::pair<std::string, Dtype>, AllRuns> all_runs_;
  Largest largest_;
  FalseAlarmReport report_;
};

}  // namespace

std::vector<Candidate> correct_kernels() {
  std::vector<Candidate> kernels;
  const auto add = [&](const Candidate& candidate) {
    const bool is_known =
        std::any_of(kernels.begin(), kernels.end(), [&](const Candidate& one) { return one.name == candidate.name; });
    if (!is_known && candidate.not_run_reason.empty()) kernels.push_back(candidate);
  };
  for (const Candidate& candidate : choose_candidates({})) add(candidate);
  add(specimen_flash());
  for (const Mutant& mutant : mutants()) add(mutant.specimen);
  for (const Candidate& candidate : unusual_candidates()) add(candidate);
  return kernels;
}

FalseAlarmReport count_false_alarms(
    const std::vector<Candidate>& kernels, const std::vector<Case>& cases, bool promises_a_tier, std::int64_t runs,
    int threads, const std::function<bool(std::int64_t, std::int64_t, const std::string&)>& may_go_on) {
  const auto start = std::chrono::steady_clock::now();
  const auto count = static_cast<std::int64_t>(kernels.size()), cases_count = static_cast<std::int64_t>(cases.size());
  const std::int64_t rounds = (runs + count - 1) / count;
  FalseAlarmCount alarms(promises_a_tier, threads);
  bool goes_on = true;
  for (std::int64_t round = 0; round < rounds && goes_on; ++round) {
    const std::int64_t left = std::min(count, runs - round * count);
    alarms.begin({kernels.begin(), kernels.begin() + left}, cases_count);
    for (std::int64_t at = 0; at < cases_count && goes_on; ++at) {
      const Case c = moved(cases[static_cast<std::size_t>(at)], round);
      goes_on = may_go_on(round * cases_count + at, rounds * cases_count, to_string(c));
      if (goes_on) alarms.judge(c);
    }
    alarms.end(goes_on);
  }
  FalseAlarmReport report = alarms.finished();
  for (const Candidate& kernel : kernels) report.kernels.push_back(kernel.name);
  report.runs_asked = runs;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace ringproof

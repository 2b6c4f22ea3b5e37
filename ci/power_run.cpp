// A mutant counts as killed on a Case only where its specimen is accepted, and as caught by a rule only where the rule
// takes its specimen: what refuses both says nothing about the edit. Everything of one Case is judged before the next,
// so one reference and one baseline serve all.

#include "ci/power_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <set>

#include "ci/judge_one.h"
#include "ci/repeat.h"
#include "property_tests/correct/unusual.h"
#include "reference/judge/eager_baseline.h"
#include "reference/judge/properties.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Kind = PowerRow::Kind;

struct Subject {
  PowerRow row;
  Candidate candidate;
  std::size_t specimen;  ///< of a mutant: its place among the subjects; else its own
  Session session;
  PropertyExaminer examiner{};
  std::map<Dtype, std::vector<Evidence>> evidence{};
  std::map<Dtype, Verdict> verdicts{};
};

// What one subject showed on one Case.
struct Shown {
  Evidence evidence;
  CaseVerdict verdict;
  std::vector<bool> taken_by;                 ///< by rule; empty where nothing came back
  std::vector<std::byte> out_bits, lse_bits;  ///< no bits of lse where the call was not asked for it

  bool returned() const { return evidence.status == CallStatus::kReturned; }
  // Never asked, or nothing of the answer is defined: the Case says nothing about whom it shows.
  bool is_outside() const {
    return verdict.outcome == Outcome::kUnsupported && evidence.status != CallStatus::kRefused;
  }
};

std::int64_t work_of(const Case& c) {
  const Problem& p = c.problem;
  return p.batch * p.heads_q * p.seqlen_q * p.seqlen_kv * (p.head_dim_qk + p.head_dim_v);
}

bool was_rejected(const Subject& subject) { return subject.row.kind == Kind::kMutant && !subject.row.checks.empty(); }

std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> values;
  const TensorView view = tensor.view();
  const std::size_t bytes = size_bytes(view.dtype), count = tensor.bytes().size() / bytes;
  values.reserve(count);
  for (std::size_t at = 0; at < count; ++at) values.push_back(load(tensor.bytes().data() + at * bytes, view.dtype));
  return values;
}

// What the rules of one Case are given beside an answer: elements that are rightly NaN or infinite stand as 0.
struct RuleNumbers {
  std::vector<double> want, baseline;

  explicit RuleNumbers(const Reference& reference)
      : want(reference.want.out.value), baseline(eager_baseline(reference.c.problem, reference.inputs)) {
    for (std::size_t at = 0; at < want.size(); ++at) {
      if (!std::isfinite(want[at])) want[at] = baseline[at] = 0;
    }
  }
};

Shown judged(Subject& subject, const Reference& reference, const std::vector<PublishedRule>& rules,
             const RuleNumbers& on_rules, PropertyReferences& references) {
  Got got;
  Shown shown{judge_one(subject.session, reference, &got), {}, {}, {}, {}};
  const bool is_open =
      subject.row.kind != Kind::kMutant || (!was_rejected(subject) && failing_checks(shown.evidence).empty());
  if (is_open && work_of(reference.c) <= kShortWork) {
    subject.examiner.examine(subject.candidate, reference.c, {subject.session.buffers(), &references}, shown.evidence);
  }
  shown.verdict = verify_case(shown.evidence);
  if (!shown.returned()) return shown;
  const std::vector<double>& exact = reference.want.out.value;
  std::vector<double> values = values_of(got.out);
  // Rows that see nothing are not judged where their answer is not claimed, nor those that nan2 has spoiled, nor those
  // that an infinity leaves open: the rules are spared them, too. So are elements that are rightly NaN or infinite; one
  // that should be NaN and is not stands as NaN before a rule, which refuses it.
  for (std::size_t at = 0; at < values.size(); ++at) {
    const std::size_t row = at / static_cast<std::size_t>(reference.c.problem.head_dim_v);
    const bool is_undefined = !got.empty_rows_defined && reference.want.statistics.rows[row].visible_count == 0;
    const bool is_spoiled = !got.rows_spoiled.empty() && got.rows_spoiled[row];
    const bool is_right = values[at] == exact[at] || (std::isnan(values[at]) && std::isnan(exact[at]));
    const SpecialRows& special = reference.special;
    const auto place = static_cast<std::int64_t>(row), columns = reference.c.problem.head_dim_v;
    const bool is_left_open = special.is_unspecified(place) || (special.lies_beside(place) && !got.bears_hidden_nan);
    const bool wants_nan = special.is_nan(place, static_cast<std::int64_t>(at) % columns);
    const bool is_spared = is_undefined || is_spoiled || is_left_open || (wants_nan && std::isnan(values[at])) ||
                           (is_right && !std::isfinite(exact[at]));
    if (wants_nan) values[at] = std::nan("");
    if (is_spared) values[at] = on_rules.want[at];
  }
  const RuleInput input{reference.c.problem.dtype, on_rules.want, values, on_rules.baseline};
  for (const PublishedRule& rule : rules) shown.taken_by.push_back(rule.accepts(input));
  shown.out_bits = got.out.bytes();
  if (got.has_lse) shown.lse_bits = got.lse.bytes();
  return shown;
}

bool differ(const Shown& one, const Shown& other) {
  const bool both_have_lse = !one.lse_bits.empty() && !other.lse_bits.empty();
  return one.returned() && other.returned() &&
         (one.out_bits != other.out_bits || (both_have_lse && one.lse_bits != other.lse_bits));
}

// The checks that speak against it; a failed call is one of them where that is what a mutant ends in.
std::vector<std::string> checks_against(const Shown& shown) {
  if (shown.evidence.status == CallStatus::kFailed) return {"failed call"};
  return failing_checks(shown.evidence);
}

class Measurement {
 public:
  Measurement(const PowerSubjects& subjects, std::size_t cases, int threads)
      : cases_(static_cast<std::int64_t>(cases)), threads_(threads) {
    for (const Candidate& candidate : subjects.correct) add(candidate, Kind::kCorrect, Outcome::kAccepted);
    for (const Candidate& candidate : subjects.loosely_declared) {
      add(candidate, Kind::kLooselyDeclared, Outcome::kInconclusive);
    }
    for (const Mutant& mutant : subjects.mutants) {
      const Outcome want = mutant.ends_in_error ? Outcome::kInconclusive : Outcome::kRejected;
      const std::size_t specimen = place_of(mutant.specimen.name);
      Subject& subject = add(mutant.candidate, Kind::kMutant, want);
      subject.specimen = specimen;
      subject.row.name = mutant.name;
      subject.row.imitates = mutant.imitates;
      subject.row.source = mutant.source;
      subject.row.specimen = mutant.specimen.name;
    }
    matrix_.rules = published_rules();
  }

  void judge(const Reference& reference) {
    const std::vector<std::optional<Shown>> shown = all_judged(reference);
    for (std::size_t at = 0; at < subjects_.size(); ++at) {
      if (!shown[at]) {
        ++subjects_[at].row.cases_left_out;
      } else if (!shown[at]->is_outside()) {
        note(subjects_[at], *shown[at], *shown[subjects_[at].specimen]);
      }
    }
  }

  // The same Case once more: what is called twice shows state. Nothing else of it counts a second time.
  void judge_again(const Reference& reference) {
    const std::vector<std::optional<Shown>> shown = all_judged(reference);
    for (std::size_t at = 0; at < subjects_.size(); ++at) {
      if (!shown[at]) continue;
      const std::vector<std::string> checks = failing_checks(shown[at]->evidence);
      const bool shows_state = std::find(checks.begin(), checks.end(), "determinism") != checks.end();
      const bool specimen_stands = shown[subjects_[at].specimen]->verdict.outcome == Outcome::kAccepted;
      if (!shows_state || (subjects_[at].row.kind == Kind::kMutant && !specimen_stands)) continue;
      PowerRow& row = subjects_[at].row;
      if (row.checks["determinism"].cases++ == 0) {
        row.checks["determinism"].first_case = shown[at]->verdict.case_line;
      }
      if (row.first_case.empty()) row.first_case = shown[at]->verdict.case_line;
      if (row.reason.empty()) row.reason = shown[at]->verdict.reason;
      subjects_[at].evidence[shown[at]->evidence.dtype].push_back(shown[at]->evidence);
    }
  }

  PowerMatrix finished() {
    std::set<std::string> checks;
    for (Subject& subject : subjects_) decide(subject);
    for (Subject& subject : subjects_) {
      note_pooled(subject);
      for (const auto& [check, count] : subject.row.checks) checks.insert(check);
      matrix_.rows.push_back(subject.row);
    }
    matrix_.checks = in_order_of_judgement({checks.begin(), checks.end()});
    return std::move(matrix_);
  }

 private:
  std::vector<std::optional<Shown>> all_judged(const Reference& reference) {
    const RuleNumbers on_rules(reference);
    std::vector<std::optional<Shown>> shown(subjects_.size());
    parallel_for(static_cast<std::int64_t>(subjects_.size()), threads_, [&](std::int64_t at) {
      Subject& subject = subjects_[static_cast<std::size_t>(at)];
      if (is_left_out(subject, reference.c)) return;
      shown[static_cast<std::size_t>(at)] = judged(subject, reference, matrix_.rules, on_rules, references_);
    });
    return shown;
  }

  Subject& add(const Candidate& candidate, Kind kind, Outcome want) {
    return subjects_.emplace_back(
        Subject{{candidate.name, kind, "", "", "", want}, candidate, subjects_.size(), Session(candidate, cases_)});
  }

  std::size_t place_of(const std::string& name) const {
    const auto found = std::find_if(subjects_.begin(), subjects_.end(),
                                    [&](const Subject& subject) { return subject.candidate.name == name; });
    assert_that(found != subjects_.end(), "a mutant's specimen is judged before it");
    return static_cast<std::size_t>(found - subjects_.begin());
  }

  static bool is_left_out(const Subject& subject, const Case& c) {
    const bool covered =
        unsupported_reason(subject.candidate.describe(c.problem.dtype, c.direction), c.problem).empty();
    return covered && was_rejected(subject) && kBigWork < work_of(c);
  }

  void note(Subject& subject, const Shown& shown, const Shown& of_specimen) {
    PowerRow& row = subject.row;
    ++row.cases_run;
    const bool is_mutant = row.kind == Kind::kMutant;
    const bool specimen_stands = of_specimen.verdict.outcome == Outcome::kAccepted;
    const bool as_wanted =
        is_mutant ? specimen_stands && row.want <= shown.verdict.outcome : row.want == shown.verdict.outcome;
    row.cases_as_wanted += as_wanted;
    const bool says_something = is_mutant ? as_wanted : !as_wanted;
    if (says_something && row.first_case.empty()) {
      row.first_case = shown.verdict.case_line;
      row.reason = shown.verdict.reason;
    }
    if (!is_mutant || as_wanted) {
      for (const std::string& check : checks_against(shown)) {
        CheckCount& count = row.checks[check];
        if (count.cases++ == 0) count.first_case = shown.verdict.case_line;
      }
    }
    row.bound_used = std::max(row.bound_used, shown.evidence.by_value.bound_used);
    for (const TensorEvidence& tensor : shown.evidence.tensors) {
      row.bound_used = std::max(row.bound_used, tensor.bound_used);
    }
    const bool differs = is_mutant && differ(shown, of_specimen);
    row.cases_differing += differs;
    note_rules(row, shown, of_specimen, differs);
    subject.evidence[shown.evidence.dtype].push_back(shown.evidence);
  }

  void note_rules(PowerRow& row, const Shown& shown, const Shown& of_specimen, bool differs) {
    const bool is_mutant = row.kind == Kind::kMutant;
    RunCount& runs = is_mutant ? matrix_.faulty : matrix_.correct;
    const bool counts = shown.returned() && (is_mutant ? differs : row.kind == Kind::kCorrect);
    if (!counts) return;
    ++runs.runs;
    runs.refused["ours"] += shown.verdict.outcome == Outcome::kRejected;
    for (std::size_t at = 0; at < matrix_.rules.size(); ++at) {
      const std::string& rule = matrix_.rules[at].name;
      const bool refused = !shown.taken_by[at];
      runs.refused[rule] += refused;
      if (refused && (!is_mutant || of_specimen.taken_by[at])) ++row.rules[rule];
    }
  }

  // Over all Cases of each dtype, as a gate does.
  static void decide(Subject& subject) {
    if (!subject.evidence.empty()) subject.row.outcome = Outcome::kAccepted;
    for (const auto& [dtype, evidence] : subject.evidence) {
      const Description description = subject.candidate.describe(dtype, Direction::kForward);
      const Verdict verdict = verify(evidence, contract_of(description, dtype));
      subject.row.outcome = worst(subject.row.outcome, verdict.outcome);
      subject.verdicts.emplace(dtype, verdict);
    }
  }

  // What only the rows of all Cases together show; counted once per dtype.
  void note_pooled(Subject& subject) const {
    for (const auto& [dtype, verdict] : subject.verdicts) {
      const auto of_specimen = subjects_[subject.specimen].verdicts.find(dtype);
      const bool specimen_stands =
          of_specimen != subjects_[subject.specimen].verdicts.end() && of_specimen->second.failing_checks.empty();
      if (subject.row.kind == Kind::kMutant && !specimen_stands) continue;
      for (const std::string& check : verdict.failing_checks) {
        ++subject.row.checks[check].cases;
        if (subject.row.reason.empty()) subject.row.reason = verdict.reason;
      }
    }
  }

  std::int64_t cases_;
  int threads_;
  PropertyReferences references_;
  std::vector<Subject> subjects_;
  PowerMatrix matrix_;
};

}  // namespace

PowerSubjects choose_subjects(const std::vector<std::string>& names) {
  PowerSubjects subjects;
  for (const Mutant& mutant : mutants()) {
    const bool is_named = std::find(names.begin(), names.end(), mutant.name) != names.end();
    if (is_named || names.empty()) subjects.mutants.push_back(mutant);
  }
  for (const std::string& name : names) {
    const auto is_it = [&](const Mutant& mutant) { return mutant.name == name; };
    if (std::none_of(subjects.mutants.begin(), subjects.mutants.end(), is_it)) {
      throw InputError("there is no mutant '" + name + "'; property_tests/mutants/list.txt names them all");
    }
  }
  std::set<std::string> specimens;
  for (const Mutant& mutant : subjects.mutants) {
    if (specimens.insert(mutant.specimen.name).second) subjects.correct.push_back(mutant.specimen);
  }
  if (names.empty()) {
    for (Candidate& candidate : unusual_candidates()) subjects.correct.push_back(std::move(candidate));
    subjects.loosely_declared = loosely_declared_candidates();
  }
  return subjects;
}

PowerMatrix measure_power(const PowerSubjects& subjects, const std::vector<Case>& cases, int threads,
                          const std::function<bool(std::int64_t, const std::string&)>& may_go_on) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Case> ordered = cases;
  std::stable_partition(ordered.begin(), ordered.end(), [](const Case& c) { return work_of(c) <= kBigWork; });
  Measurement measurement(subjects, cases.size(), threads);
  std::int64_t done = 0;
  std::optional<Reference> again;
  for (const Case& c : ordered) {
    if (!may_go_on(done, to_string(c))) break;
    Reference reference = prepare(c, threads);
    measurement.judge(reference);
    if (again) measurement.judge_again(*again);
    again.reset();
    if (done++ % kCasesPerRepeat == 0 && work_of(c) <= kBigWork) again = std::move(reference);
  }
  if (again) measurement.judge_again(*again);
  PowerMatrix matrix = measurement.finished();
  matrix.cases_asked = static_cast<std::int64_t>(cases.size());
  matrix.cases_done = done;
  matrix.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return matrix;
}

}  // namespace ringproof

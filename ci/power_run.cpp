// A mutant counts as killed on a Case only where its specimen is accepted, and as caught by a rule only where the rule
// takes its specimen: what refuses both says nothing about the edit. Everything of one Case is judged before the next,
// so one reference and one baseline serve all.

#include "ci/power_run.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "ci/judge_one.h"
#include "property_tests/correct/unusual.h"
#include "reference/judge/eager_baseline.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Kind = PowerRow::Kind;

struct Subject {
  PowerRow row;
  Candidate candidate;
  std::size_t specimen;  ///< of a mutant: its place among the subjects; else its own
  Session session{candidate};
  std::map<Dtype, std::vector<Evidence>> evidence{};
};

// What one subject showed on one Case.
struct Shown {
  Evidence evidence;
  CaseVerdict verdict;
  std::vector<bool> taken_by;  ///< by rule; empty where nothing came back
  std::vector<std::byte> bits;

  bool returned() const { return evidence.status == CallStatus::kReturned; }
};

std::int64_t work_of(const Case& c) {
  const Problem& p = c.problem;
  return p.batch * p.heads_q * p.seqlen_q * p.seqlen_kv * (p.head_dim_qk + p.head_dim_v);
}

std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> values;
  const TensorView view = tensor.view();
  const std::size_t bytes = size_bytes(view.dtype), count = tensor.bytes().size() / bytes;
  values.reserve(count);
  for (std::size_t at = 0; at < count; ++at) values.push_back(load(tensor.bytes().data() + at * bytes, view.dtype));
  return values;
}

Shown judged(Subject& subject, const Reference& reference, const std::vector<PublishedRule>& rules,
             const std::vector<double>& baseline) {
  Got got;
  Shown shown{judge_one(subject.session, reference, &got), {}, {}, {}};
  shown.verdict = verify_case(shown.evidence);
  if (!shown.returned()) return shown;
  std::vector<double> values = values_of(got.out);
  const std::vector<double>& want = reference.want.out.value;
  // Rows that see nothing are not judged where their answer is not claimed, nor those that nan2 has spoiled: the rules
  // are spared them, too.
  for (std::size_t at = 0; at < values.size(); ++at) {
    const std::size_t row = at / static_cast<std::size_t>(reference.c.problem.head_dim_v);
    const bool is_undefined = !got.empty_rows_defined && reference.want.statistics.rows[row].visible_count == 0;
    const bool is_spoiled = !got.rows_spoiled.empty() && got.rows_spoiled[row];
    if (is_undefined || is_spoiled) values[at] = want[at];
  }
  const RuleInput input{reference.c.problem.dtype, want, values, baseline};
  for (const PublishedRule& rule : rules) shown.taken_by.push_back(rule.accepts(input));
  shown.bits = got.out.bytes();
  shown.bits.insert(shown.bits.end(), got.lse.bytes().begin(), got.lse.bytes().end());
  return shown;
}

// The checks that speak against it; a failed call is one of them where that is what a mutant ends in.
std::vector<std::string> checks_against(const Shown& shown) {
  if (shown.evidence.status == CallStatus::kFailed) return {"failed call"};
  return failing_checks(shown.evidence);
}

class Measurement {
 public:
  Measurement(const PowerSubjects& subjects, int threads) : threads_(threads) {
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

  void judge(const Case& c) {
    const Reference reference = prepare(c, threads_);
    const std::vector<double> baseline = eager_baseline(c.problem, reference.inputs);
    std::vector<std::optional<Shown>> shown(subjects_.size());
    parallel_for(static_cast<std::int64_t>(subjects_.size()), threads_, [&](std::int64_t at) {
      Subject& subject = subjects_[static_cast<std::size_t>(at)];
      if (is_left_out(subject, c)) return;
      shown[static_cast<std::size_t>(at)] = judged(subject, reference, matrix_.rules, baseline);
    });
    for (std::size_t at = 0; at < subjects_.size(); ++at) {
      if (!shown[at]) {
        ++subjects_[at].row.cases_left_out;
      } else if (shown[at]->evidence.status != CallStatus::kUnsupported) {
        note(subjects_[at], *shown[at], *shown[subjects_[at].specimen]);
      }
    }
  }

  PowerMatrix finished() {
    std::set<std::string> checks;
    for (Subject& subject : subjects_) {
      decide(subject);
      for (const auto& [check, count] : subject.row.checks) checks.insert(check);
      matrix_.rows.push_back(subject.row);
    }
    matrix_.checks = in_order_of_judgement({checks.begin(), checks.end()});
    return std::move(matrix_);
  }

 private:
  Subject& add(const Candidate& candidate, Kind kind, Outcome want) {
    Subject subject{{candidate.name, kind, "", "", "", want}, candidate, subjects_.size()};
    return subjects_.emplace_back(std::move(subject));
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
    const bool was_rejected = !subject.row.checks.empty();
    return covered && subject.row.kind == Kind::kMutant && was_rejected && kBigWork < work_of(c);
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
    const bool differs = is_mutant && of_specimen.returned() && shown.returned() && shown.bits != of_specimen.bits;
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
    PowerRow& row = subject.row;
    if (subject.evidence.empty()) return;
    row.outcome = Outcome::kAccepted;
    for (const auto& [dtype, evidence] : subject.evidence) {
      const Description description = subject.candidate.describe(dtype, Direction::kForward);
      row.outcome = worst(row.outcome, verify(evidence, contract_of(description, dtype)).outcome);
    }
  }

  int threads_;
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
  Measurement measurement(subjects, threads);
  std::int64_t done = 0;
  for (const Case& c : ordered) {
    if (!may_go_on(done, to_string(c))) break;
    measurement.judge(c);
    ++done;
  }
  PowerMatrix matrix = measurement.finished();
  matrix.cases_asked = static_cast<std::int64_t>(cases.size());
  matrix.cases_done = done;
  matrix.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return matrix;
}

}  // namespace ringproof

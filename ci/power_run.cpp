// A mutant counts as killed on a Case only where its specimen is accepted, and as caught by a rule only where the rule
// takes its specimen: what refuses both says nothing about the edit. Everything of one Case is judged before the next,
// so one reference and one baseline serve all.

#include "ci/power_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
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
  std::set<std::string> accepted_on{}, differing_on{};  ///< Case lines; the latter of a mutant
  double seconds = 0;                                   ///< that it took so far
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

bool is_short(const Case& c) { return work_of(c) <= kShortWork; }

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

// Strides beyond 2^31 take hundreds of GiB of addresses per tensor: those of all subjects at once are too many.
void give_back_memory(Subject& subject, Evidence& evidence) {
  Buffers& buffers = subject.session.buffers();
  const std::vector<std::string> late = written_late(buffers);
  evidence.structure_faults.insert(evidence.structure_faults.end(), late.begin(), late.end());
  buffers.ranks.clear();
  buffers.case_line.clear();
}

// A Case with everything that is made once for all who are judged on it.
struct Prepared {
  explicit Prepared(const Case& asked, int threads) : c(asked) {
    try {
      reference = prepare(asked, threads);
      on_rules.emplace(*reference);
      limits = std::make_unique<SharedLimits>(*reference);
    } catch (const std::exception& error) {
      failure = error.what();
      reference.reset();
    }
  }
  Prepared(const Prepared&) = delete;  // the limits hold on to the reference
  Prepared& operator=(const Prepared&) = delete;

  Case c;
  std::optional<Reference> reference;  ///< none: nobody is judged on it, and none accepted, for this reason
  std::string failure;
  std::optional<RuleNumbers> on_rules;
  std::unique_ptr<SharedLimits> limits;
};

Shown judged(Subject& subject, const Prepared& prepared, const std::vector<PublishedRule>& rules,
             PropertyReferences& references, bool with_properties) {
  if (!prepared.reference) {
    Shown shown{failed_evidence(subject.candidate.name, prepared.c, prepared.failure), {}, {}, {}, {}};
    const Description description = subject.candidate.describe(prepared.c.problem.dtype, prepared.c.direction);
    const bool is_covered = unsupported_reason(description, prepared.c.problem).empty();
    if (!is_covered) shown.evidence.status = CallStatus::kUnsupported;
    shown.verdict = verify_case(shown.evidence);
    return shown;
  }
  const Reference& reference = *prepared.reference;
  const RuleNumbers& on_rules = *prepared.on_rules;
  Got got;
  Shown shown{judge_one(subject.session, reference, &got, prepared.limits.get()), {}, {}, {}, {}};
  if (with_properties && is_short(reference.c)) {
    subject.examiner.examine(subject.candidate, reference.c, {subject.session.buffers(), &references}, shown.evidence);
  }
  const Memory& memory = reference.c.memory;
  if (memory.huge_batch || memory.huge_seq) give_back_memory(subject, shown.evidence);
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
  Measurement(const PowerSubjects& subjects, std::size_t cases, int threads, bool is_complete)
      : cases_(static_cast<std::int64_t>(cases)), threads_(threads), is_complete_(is_complete) {
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

  // `beside` is done at the same time, by a thread of its own.
  void judge(const Prepared& prepared, const std::function<void()>& beside) {
    const std::vector<std::optional<Shown>> shown = all_judged(prepared, true, beside);
    for (std::size_t at = 0; at < subjects_.size(); ++at) {
      if (!shown[at]) {
        ++subjects_[at].row.cases_left_out;
      } else if (!shown[at]->is_outside()) {
        note(subjects_[at], *shown[at], *shown[subjects_[at].specimen]);
      }
    }
  }

  // The same Case once more: what is called twice shows state. Nothing else of it counts a second time.
  void judge_again(const Prepared& prepared) {
    const std::vector<std::optional<Shown>> shown = all_judged(prepared, false, [] {});
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

  // Properties of the mutants that nothing else rejects, on the Cases and in the order in which their specimens were
  // asked: a call of each property costs as much as the Case itself.
  bool has_open_mutants() const { return std::any_of(subjects_.begin(), subjects_.end(), is_open); }

  void ask_properties(const Prepared& prepared) {
    std::vector<Subject*> open;
    for (Subject& subject : subjects_) {
      if (is_open(subject)) open.push_back(&subject);
    }
    std::vector<Shown> shown(open.size());
    parallel_for(static_cast<std::int64_t>(open.size()), threads_, [&](std::int64_t at) {
      shown[static_cast<std::size_t>(at)] =
          judged(*open[static_cast<std::size_t>(at)], prepared, matrix_.rules, references_, true);
    });
    for (std::size_t at = 0; at < open.size(); ++at) note_properties(*open[at], shown[at]);
  }

  void note_properties_left_out() {
    for (const Subject& subject : subjects_)
      matrix_.mutants_without_properties += !is_complete_ && was_rejected(subject);
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
  // Slow ones first, so that all threads end together.
  std::vector<std::optional<Shown>> all_judged(const Prepared& prepared, bool with_properties,
                                               const std::function<void()>& beside) {
    std::vector<std::size_t> order(subjects_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) {
      return subjects_[other].seconds < subjects_[one].seconds;
    });
    std::vector<std::optional<Shown>> shown(subjects_.size());
    parallel_for(static_cast<std::int64_t>(subjects_.size()) + 1, threads_, [&](std::int64_t turn) {
      if (turn == 0) return beside();
      const std::size_t at = order[static_cast<std::size_t>(turn - 1)];
      Subject& subject = subjects_[at];
      if (is_left_out(subject, prepared.c)) return;
      const auto start = std::chrono::steady_clock::now();
      const bool asks = with_properties && (is_complete_ || subject.row.kind != Kind::kMutant);
      shown[at] = judged(subject, prepared, matrix_.rules, references_, asks);
      subject.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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

  static bool is_open(const Subject& subject) { return subject.row.kind == Kind::kMutant && !was_rejected(subject); }

  bool is_left_out(const Subject& subject, const Case& c) const {
    if (is_complete_) return false;
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
    if (shown.verdict.outcome == Outcome::kAccepted) subject.accepted_on.insert(shown.verdict.case_line);
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
    if (differs) subject.differing_on.insert(shown.verdict.case_line);
    note_rules(row, shown, of_specimen, differs);
    subject.evidence[shown.evidence.dtype].push_back(shown.evidence);
  }

  void note_properties(Subject& subject, const Shown& shown) {
    const std::vector<std::string> checks = failing_checks(shown.evidence);
    const std::string& line = shown.verdict.case_line;
    if (checks.empty() || !subjects_[subject.specimen].accepted_on.contains(line)) return;
    PowerRow& row = subject.row;
    for (const std::string& check : checks) {
      CheckCount& count = row.checks[check];
      if (count.cases++ == 0) count.first_case = line;
    }
    ++row.cases_as_wanted;
    if (row.first_case.empty()) row.first_case = line, row.reason = shown.verdict.reason;
    matrix_.faulty.refused["ours"] += subject.differing_on.contains(line);
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
  bool is_complete_;
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

PowerMatrix measure_power(const PowerSubjects& subjects, const std::vector<Case>& cases, int threads, bool is_complete,
                          const std::function<bool(std::int64_t, const std::string&)>& may_go_on) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Case> ordered = cases;
  std::stable_partition(ordered.begin(), ordered.end(), [](const Case& c) { return work_of(c) <= kBigWork; });
  Measurement measurement(subjects, cases.size(), threads, is_complete);
  std::size_t done = 0;
  std::unique_ptr<Prepared> now, next, again;
  if (!ordered.empty()) now = std::make_unique<Prepared>(ordered.front(), threads);
  for (; now && may_go_on(static_cast<std::int64_t>(done), to_string(now->c)); now = std::move(next)) {
    measurement.judge(*now, [&] {
      if (done + 1 < ordered.size()) next = std::make_unique<Prepared>(ordered[done + 1], 1);
    });
    if (again) measurement.judge_again(*again);
    again.reset();
    if (done++ % kCasesPerRepeat == 0 && work_of(now->c) <= kBigWork) again = std::move(now);
  }
  if (again) measurement.judge_again(*again);
  bool goes_on = done == ordered.size();
  measurement.note_properties_left_out();
  for (const Case& c : ordered) {
    if (!goes_on || is_complete || !measurement.has_open_mutants()) break;
    if (!is_short(c)) continue;
    goes_on = may_go_on(static_cast<std::int64_t>(done), "properties on " + to_string(c));
    if (goes_on) measurement.ask_properties(Prepared(c, threads));
  }
  PowerMatrix matrix = measurement.finished();
  matrix.cases_asked = static_cast<std::int64_t>(cases.size());
  matrix.cases_done = static_cast<std::int64_t>(done);
  matrix.is_interrupted = !goes_on;
  matrix.is_complete = is_complete;
  matrix.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return matrix;
}

}  // namespace ringproof

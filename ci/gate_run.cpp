#include "ci/gate_run.h"

#include <fmt/format.h>
#include <algorithm>
#include <chrono>

#include "candidates/worker_candidate.h"
#include "ci/candidates.h"
#include "ci/candidates_outside.h"
#include "ci/commit.h"
#include "ci/judge_one.h"
#include "ci/launch.h"
#include "ci/repeat.h"
#include "ci/transport.h"
#include "reference/judge/attribution.h"

namespace ringproof {
namespace {

constexpr double kShrinkSecondsMax = 10;  // per candidate and run: a broken kernel must not cost minutes

constexpr int kTroublesShown = 5;  // per candidate, on the terminal; the records hold them all

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A candidate's name as a word of the shell: commands and paths may hold anything but a quote.
std::string in_shell(const std::string& name) {
  const bool is_word = name.find_first_of(" {}$*?;&|<>()\"\\`") == std::string::npos;
  return is_word ? name : "'" + name + "'";
}

// A statement a line.
std::string in_lines(std::string text) {
  for (std::size_t at = text.find("; "); at != std::string::npos; at = text.find("; ", at)) text.replace(at, 2, "\n  ");
  return text;
}

}  // namespace

GateRun::GateRun(const GateOptions& options, std::vector<Case> cases, const Machine& machine)
    : options_(options),
      cases_(std::move(cases)),
      machine_(machine),
      progress_(static_cast<std::int64_t>(cases_.size())) {
  for (Candidate& candidate : on_transport(options, candidates_of_gate(options, cases_, machine, notes_))) {
    if (candidate.not_run_reason.empty()) {
      candidates_.push_back(std::move(candidate));
    } else {
      not_run_.push_back({candidate.name, candidate.not_run_reason});
    }
  }
  if (spans_workers(options)) cases_ = cases_over_ranks(options, std::move(cases_), candidates_);
  const bool is_from_outside = options.workers.descriptor >= 0 || !options.candidates.empty();
  if (!is_from_outside || !std::all_of(options.candidates.begin(), options.candidates.end(), is_worker_name)) {
    for (const auto& [name, reason] : {std::pair("transport nccl", nccl_not_run_reason(options)),
                                       std::pair("transport mpi", mpi_not_run_reason(options))}) {
      if (!reason.empty()) not_run_.push_back({name, reason});
    }
  }
  if (candidates_.empty()) cases_.clear();  // nobody to ask
  if (!options.out.empty()) writer_.emplace(options.out);
  for (const Candidate& candidate : candidates_) sessions_.emplace_back(candidate, cases_asked());
}

void GateRun::judge_all() {
  interrupt_.emplace();
  if (writer_) begin_record();
  std::optional<Reference> again;
  for (const Case& c : cases_) {
    progress_.show(cases_done_, "reference of " + to_string(c));
    if (interrupt_->asked() || has_failed(options_)) break;
    std::optional<Reference> reference;
    std::string failure;
    try {
      reference = prepare(c, options_.sampling, threads());
      coverage_.look_at(*reference);
    } catch (const std::exception& error) {  // data lost or memory spent since the Cases were checked
      failure = error.what();
      reference.reset();
    }
    if (!judge(c, reference ? &*reference : nullptr, failure)) break;
    ++cases_done_;
    if (again && !has_failed(options_)) judge_again(*again);
    again.reset();
    // In order, the caller says himself what is called twice.
    const bool comes_again = !options_.cases.in_order && cases_done_ % kCasesPerRepeat == 1 && reference &&
                             reference->time_ms < kRepeatMsMax;
    if (comes_again) again = std::move(reference);
  }
  if (again && !interrupt_->asked() && !has_failed(options_)) judge_again(*again);
  end_sessions();
  progress_.show(cases_done_, "done");
  progress_.clear();
  for (const auto& [name, count] : troubles_) {
    if (count <= kTroublesShown) continue;
    fmt::print("{}: {} more Cases rejected or inconclusive, not shown here; --out keeps them all\n", name,
               count - kTroublesShown);
  }
  interrupt_.reset();
}

// False where the user stopped it before its last candidate was judged.
bool GateRun::judge(const Case& c, const Reference* reference, const std::string& failure) {
  std::optional<DroppedMass> dropped;  // once for all candidates, if one of them is judged
  for (std::size_t index = 0; index < candidates_.size(); ++index) {
    const Candidate& candidate = candidates_[index];
    progress_.show(cases_done_, candidate.name + " on " + to_string(c));
    Got got;
    Evidence evidence =
        reference ? judge_next(sessions_[index], *reference, got) : failed_evidence(candidate.name, c, failure);
    examiner_.examine(candidate, c, {sessions_[index].buffers(), &references_}, evidence);
    if (is_cut_short(evidence)) return false;
    coverage_.count(evidence);
    if (evidence.status == CallStatus::kReturned) {
      guarded(evidence, "its power could not be measured", [&] {
        power_.note(candidate.name, got.description, *reference, sessions_[index].tensors_in_run(), threads());
      });
      guarded(evidence, "the probability that its mask drops could not be measured", [&] {
        if (!dropped) dropped = dropped_mass(*reference, threads());
        Group& group = groups_[{candidate.name, evidence.dtype}];
        group.contract = contract_of(got.description, evidence.dtype);
        group.description = got.description;
        group.dropped = merged(group.dropped, *dropped);
      });
    }
    note(sessions_[index], c, evidence);
  }
  return true;
}

// What stopping made of a call says nothing of the candidate; what was found before stands.
bool GateRun::is_cut_short(const Evidence& evidence) const {
  return interrupt_->asked() && verify_case(evidence).outcome == Outcome::kInconclusive;
}

// One call, and where its residual lies if it is rejected.
Evidence GateRun::judge_next(Session& session, const Reference& reference, Got& got) {
  Evidence evidence = judge_one(session, reference, &got);
  if (failing_check(evidence).empty()) return evidence;
  guarded(evidence, "where its residual lies could not be found", [&] {
    const Arithmetic arithmetic = resolve(got.description.arithmetic, reference.c.problem.dtype);
    evidence.attribution = attribution_of(reference, arithmetic, got, evidence);
  });
  return evidence;
}

// A call that shows nothing new is no Case of its own: pooled statistics would count its data twice.
void GateRun::judge_again(const Reference& reference) {
  for (std::size_t index = 0; index < candidates_.size(); ++index) {
    Got got;
    const Evidence evidence = judge_next(sessions_[index], reference, got);
    if (is_cut_short(evidence)) return;
    const Outcome outcome = verify_case(evidence).outcome;
    const std::vector<Evidence>& before = groups_[{evidence.candidate, evidence.dtype}].evidence;
    const bool was_refused = std::any_of(before.begin(), before.end(), [&](const Evidence& one) {
      return one.status == CallStatus::kRefused && one.case_line == evidence.case_line;
    });
    const bool is_refused_now = evidence.status == CallStatus::kRefused && !was_refused;
    if (outcome == Outcome::kRejected || outcome == Outcome::kInconclusive || is_refused_now) {
      note(sessions_[index], reference.c, evidence);
    } else {
      ++sequence_;
    }
  }
}

// What the last calls wrote after their returns.
void GateRun::end_sessions() {
  for (std::size_t index = 0; index < candidates_.size(); ++index) {
    const std::optional<Evidence> late = sessions_[index].end();
    if (late) note(sessions_[index], parse_case(late->case_line), *late);
  }
}

void GateRun::note(Session& session, const Case& c, Evidence evidence) {
  const Candidate& candidate = session.candidate();
  std::string smallest;
  if (options_.shrink && !failing_check(evidence).empty()) {
    guarded(evidence, "no smaller Case could be looked for", [&] { smallest = find_smallest(session, c, evidence); });
  }
  CaseVerdict verdict = verify_case(evidence);
  verdict.smallest_case = smallest;
  if (writer_) writer_->evidence(sequence_, evidence, verdict);
  ++sequence_;
  const bool is_trouble = verdict.outcome == Outcome::kRejected || verdict.outcome == Outcome::kInconclusive;
  if (is_trouble && ++troubles_[candidate.name] <= kTroublesShown) print_trouble(verdict, candidate.name);
  const Topology& topology = c.problem.topology;
  if (!evidence.ranks.empty()) {
    add(traffic_[{candidate.name, topology.schedule, topology.head_split_ranks, topology.rank_count}], c, evidence);
  }
  Group& group = groups_[{candidate.name, evidence.dtype}];
  group.evidence.push_back(std::move(evidence));
  group.smallest_cases.push_back(verdict.smallest_case);
}

// "" where nobody looked. What one call on the Case does not repeat is a warning in the evidence.
std::string GateRun::find_smallest(Session& session, const Case& c, Evidence& evidence) {
  const Candidate& candidate = session.candidate();
  progress_.show(cases_done_, "shrinking " + evidence.case_line);
  double& spent = shrink_seconds_[candidate.name];
  const auto start = std::chrono::steady_clock::now();
  const auto may_go_on = [&] { return !interrupt_->asked() && spent + seconds_since(start) < kShrinkSecondsMax; };
  if (!may_go_on()) return "";
  const std::optional<Case> smallest = smallest_failing(candidate, c, failing_reason(evidence), options_.sampling,
                                                        threads(), session.buffers(), may_go_on);
  spent += seconds_since(start);
  if (smallest) return to_string(*smallest);
  if (interrupt_->asked()) return "";
  evidence.warnings.push_back("one call on this Case alone does not show it: rerun the whole sequence of calls");
  return "";
}

void GateRun::print_trouble(const CaseVerdict& verdict, const std::string& candidate) {
  progress_.clear();
  const bool is_shrunk = !verdict.smallest_case.empty() && verdict.smallest_case != verdict.case_line;
  fmt::print("{}: {} on '{}'\n  {}\n", candidate, to_string(verdict.outcome), verdict.case_line,
             in_lines(verdict.reason));
  if (!verdict.attribution.empty()) fmt::print("  {}\n", verdict.attribution);
  for (const std::string& warning : verdict.warnings) fmt::print("  {}\n", warning);
  std::string command = "ringproof gate";
  if (spans_workers(options_)) command += " --launcher " + options_.launcher;
  if (options_.transport == "mpi") command += " --launcher mpirun";
  if (options_.transport == "nccl") command += " --transport nccl";
  if (options_.transport == "simulated") command += " --transport simulated";
  const std::string named = in_shell(candidate);
  fmt::print("  rerun: {} --candidate {} --case '{}'\n", command, named, verdict.case_line);
  if (is_shrunk) {
    fmt::print("  the smallest Case found that still fails: {} --candidate {} --case '{}'\n", command, named,
               verdict.smallest_case);
  }
  std::fflush(stdout);
}

std::vector<Verdict> GateRun::verdicts() {
  std::vector<Verdict> all;
  for (const Candidate& candidate : candidates_) {
    std::string outside;
    const std::size_t before = all.size();
    for (const auto& [key, group] : groups_) {
      if (key.first != candidate.name) continue;
      Verdict verdict = verify(group.evidence, group.contract.empty() ? "nothing returned" : group.contract);
      for (std::size_t at = 0; at < verdict.cases.size(); ++at) {
        verdict.cases[at].smallest_case = group.smallest_cases[at];
      }
      for (const Fact& fact : facts_of(group.dropped)) verdict.facts.push_back(fact);
      if (verdict.count_unsupported < verdict.count_cases) {
        coverage_.enter(group.description, key.second, promises_a_tier(), verdict);
        all.push_back(std::move(verdict));
      } else {
        // Why, where the dtype alone does not say it.
        const std::string& reason = group.evidence.front().reason;
        const bool is_dtype = reason == to_string(key.second);
        outside += fmt::format("{}{} of {}{}", outside.empty() ? "" : ", ", verdict.count_cases, to_string(key.second),
                               is_dtype ? "" : " (" + reason + ")");
      }
    }
    if (!outside.empty()) not_asked_.push_back({candidate.name, "Cases outside its declaration: " + outside});
    // Only who was named must be judged; whom nobody named is just not asked.
    const bool is_named = !options_.candidates.empty();
    if (all.size() == before && cases_done_ > 0 && is_named) nothing_judged_.push_back(candidate.name);
  }
  return all;
}

std::vector<ScheduleTraffic> GateRun::traffic() const {
  std::vector<ScheduleTraffic> all;
  for (const auto& [place, traffic] : traffic_) {
    if (traffic.count_cases > 0) all.push_back(traffic);
  }
  return all;
}

ExitCode GateRun::exit_code(std::span<const Verdict> verdicts) const {
  Outcome outcome = nothing_judged_.empty() ? Outcome::kAccepted : Outcome::kInconclusive;
  std::int64_t refused = 0;
  for (const Verdict& verdict : verdicts) {
    outcome = worst(outcome, verdict.outcome);
    refused += verdict.count_refused + verdict.count_properties_refused;
  }
  const bool unfinished = cases_done() < cases_asked();
  if (outcome == Outcome::kRejected) return ExitCode::kRejected;
  if (outcome == Outcome::kInconclusive || unfinished || verdicts.empty() || !missing_requirements().empty()) {
    return ExitCode::kInconclusive;
  }
  return refused > options_.refusals_max ? ExitCode::kRefusals : ExitCode::kAccepted;
}

std::vector<std::string> GateRun::missing_requirements() const {
  std::vector<std::string> missing;
  const bool on_cuda = std::any_of(candidates_.begin(), candidates_.end(), [](const Candidate& candidate) {
    // It is here only if a device is.
    return candidate.name.ends_with(":cuda") ||
           candidate.describe(Dtype::kDefault, Direction::kForward).has(kWantsDeviceMemory);
  });
  for (const std::string& need : options_.require) {
    const bool is_here = (need == "cuda" && on_cuda) || (need == options_.transport && options_.job != nullptr);
    if (!is_here) missing.push_back(need);
  }
  return missing;
}

void GateRun::begin_record() {
  writer_->run({"gate", options_.arguments, RINGPROOF_VERSION, built_commit(), utc_now(), options_.cases.tier,
                options_.cases.seed, machine_.cpu, machine_.os, RINGPROOF_COMPILER, threads(), machine_.memory_bytes,
                RINGPROOF_CUDA_BUILD, machine_.cuda_device, options_.transport});
}

void GateRun::end_record(std::span<const Verdict> verdicts, ExitCode code, double seconds) {
  if (!writer_) return;
  for (const NotRun& one : not_run_) writer_->not_run(one.what, one.why);
  for (const Verdict& verdict : verdicts) writer_->verdict(verdict);
  for (const ScheduleTraffic& one : traffic()) writer_->ranks(one);
  for (const ClassPower& power : powers()) writer_->power(power);
  writer_->end({static_cast<int>(code), cases_done() < cases_asked(), cases_done(), seconds});
}

}  // namespace ringproof

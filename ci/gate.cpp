// Cases outermost, candidates inside: one oracle pass serves every candidate of a Case. Evidence is written
// as it comes; verdicts, pooled over Cases, at the end.

#include "ci/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <span>

#include "ci/candidates.h"
#include "ci/gate_table.h"
#include "ci/machine.h"
#include "ci/progress.h"
#include "reference/judge/shrink.h"
#include "reference/spec/error.h"
#include "reports/results.h"

namespace ringproof {
namespace {

constexpr double kShrinkSecondsMax = 10;  // per candidate and run: a broken kernel must not cost minutes

volatile std::sig_atomic_t interrupted = 0;

extern "C" void note_interrupt(int) {
  interrupted = 1;
  std::signal(SIGINT, SIG_DFL);  // a second Ctrl-C ends the process at once
}

// A candidate on one storage dtype: what one verdict speaks of.
struct Group {
  std::string contract;
  std::vector<Evidence> evidence;
};

class GateRun {
 public:
  GateRun(const GateOptions& options, std::vector<Case> cases, const Machine& machine)
      : options_(options), cases_(std::move(cases)), machine_(machine) {
    for (Candidate& candidate : choose_candidates(options.candidates)) {
      if (candidate.not_run_reason.empty()) {
        candidates_.push_back(std::move(candidate));
      } else {
        not_run_.push_back({candidate.name, candidate.not_run_reason});
      }
    }
    for (const char* transport : {"nccl", "mpi"}) {
      not_run_.push_back({std::string("transport ") + transport, "not built in this version"});
    }
    if (!options.out.empty()) writer_.emplace(options.out);
    buffers_.resize(candidates_.size());
  }

  void judge_all() {
    if (writer_) begin_record();
    Progress progress(static_cast<std::int64_t>(cases_.size()));
    const int threads = options_.threads > 0 ? options_.threads : machine_.cores;
    for (const Case& c : cases_) {
      progress.show(cases_done_, to_string(c));
      if (interrupted) break;
      std::optional<Reference> reference;
      std::string failure;
      try {
        reference = prepare(c, threads);
      } catch (const std::exception& error) {  // data lost or memory spent since the Cases were checked
        failure = error.what();
      }
      for (std::size_t index = 0; index < candidates_.size(); ++index) {
        note(index, c, reference ? evidence_of(index, *reference) : failed_evidence(index, c, failure), progress);
      }
      ++cases_done_;
    }
    progress.show(cases_done_, "done");
    progress.clear();
  }

  /// One verdict per candidate and storage dtype that was asked anything.
  std::vector<Verdict> verdicts() {
    std::vector<Verdict> all;
    for (const Candidate& candidate : candidates_) {
      std::string outside;
      const std::size_t before = all.size();
      for (const auto& [key, group] : groups_) {
        if (key.first != candidate.name) continue;
        Verdict verdict = verify(group.evidence, group.contract);
        if (verdict.count_unsupported < verdict.count_cases) {
          all.push_back(std::move(verdict));
        } else {
          outside += fmt::format("{}{} of {}", outside.empty() ? "" : ", ", verdict.count_cases, to_string(key.second));
        }
      }
      if (!outside.empty()) not_asked_.push_back({candidate.name, "Cases outside its declaration: " + outside});
      if (all.size() == before && cases_done_ > 0) nothing_judged_.push_back(candidate.name);
    }
    return all;
  }

  ExitCode exit_code(std::span<const Verdict> verdicts) const {
    Outcome outcome = nothing_judged_.empty() ? Outcome::kAccepted : Outcome::kInconclusive;
    std::int64_t refused = 0;
    for (const Verdict& verdict : verdicts) {
      outcome = worst(outcome, verdict.outcome);
      refused += verdict.count_refused;
    }
    const bool unfinished = cases_done_ < static_cast<std::int64_t>(cases_.size());
    if (outcome == Outcome::kRejected) return ExitCode::kRejected;
    if (outcome == Outcome::kInconclusive || unfinished || verdicts.empty() || !missing_requirements().empty()) {
      return ExitCode::kInconclusive;
    }
    return refused > options_.refusals_max ? ExitCode::kRefusals : ExitCode::kAccepted;
  }

  std::vector<std::string> missing_requirements() const {
    std::vector<std::string> missing;
    const bool on_cuda = std::any_of(candidates_.begin(), candidates_.end(), [](const Candidate& candidate) {
      return candidate.name.ends_with(":cuda");  // it is here only if a device is
    });
    for (const std::string& need : options_.require) {
      if (need != "cuda" || !on_cuda) missing.push_back(need);
    }
    return missing;
  }

  std::optional<ResultsWriter>& writer() { return writer_; }
  const std::vector<NotRun>& not_run() const { return not_run_; }
  const std::vector<NotRun>& not_asked() const { return not_asked_; }
  const std::vector<std::string>& nothing_judged() const { return nothing_judged_; }
  std::int64_t cases_done() const { return cases_done_; }
  std::int64_t cases_asked() const { return static_cast<std::int64_t>(cases_.size()); }

 private:
  static Evidence evidence_on(const Candidate& candidate, const Reference& reference, Buffers& buffers) {
    const Dtype dtype = reference.c.problem.dtype;
    const Got got = run(candidate, reference, buffers);
    const Description description = candidate.describe(dtype, reference.c.direction);
    return compare(candidate.name, reference, resolve(description.arithmetic, dtype), got);
  }

  Evidence evidence_of(std::size_t index, const Reference& reference) {
    try {
      return evidence_on(candidates_[index], reference, buffers_[index]);
    } catch (const std::exception& error) {
      return failed_evidence(index, reference.c, error.what());
    }
  }

  // The smallest Case on which the same check still fails, as far as this candidate's share of time allows.
  Case smallest_failing(const Candidate& candidate, const Case& c, const std::string& check) {
    const auto start = std::chrono::steady_clock::now();
    double& seconds_spent = shrink_seconds_[candidate.name];
    const double before = seconds_spent;
    Buffers fresh;
    const auto still_fails = [&](const Case& neighbour) {
      if (interrupted || !(seconds_spent < kShrinkSecondsMax)) return false;
      const Reference reference = prepare(neighbour, machine_.cores);
      const bool fails = failing_check(evidence_on(candidate, reference, fresh)) == check;
      seconds_spent = before + std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      return fails;
    };
    return shrink(c, still_fails);
  }

  Evidence failed_evidence(std::size_t index, const Case& c, const std::string& reason) const {
    const Problem& problem = c.problem;
    const std::int64_t head_dim = std::max(problem.head_dim_qk, problem.head_dim_v);
    return {candidates_[index].name,
            to_string(c),
            problem.dtype,
            problem.mask.kind,
            head_dim,
            CallStatus::kFailed,
            reason,
            {},
            {},
            {"out by value"},
            0,
            0};
  }

  void note(std::size_t index, const Case& c, const Evidence& evidence, Progress& progress) {
    const Candidate& candidate = candidates_[index];
    CaseVerdict verdict = verify_case(evidence);
    if (verdict.outcome == Outcome::kRejected && options_.shrink) {
      progress.show(cases_done_, "shrinking " + verdict.case_line);
      verdict.smallest_case = to_string(smallest_failing(candidate, c, failing_check(evidence)));
    }
    if (writer_) writer_->evidence(sequence_, evidence, verdict);
    ++sequence_;
    if (verdict.outcome == Outcome::kRejected || verdict.outcome == Outcome::kInconclusive) {
      progress.clear();
      const std::string& smallest = verdict.smallest_case.empty() ? verdict.case_line : verdict.smallest_case;
      fmt::print("{}: {} on '{}'\n  {}\n  {}: ringproof gate --candidate {} --case '{}'\n", candidate.name,
                 to_string(verdict.outcome), verdict.case_line, verdict.reason,
                 verdict.smallest_case.empty() ? "rerun" : "the smallest Case that still fails", candidate.name,
                 smallest);
      std::fflush(stdout);
    }
    const Dtype dtype = c.problem.dtype;
    Group& group = groups_[{candidate.name, dtype}];
    if (evidence.status == CallStatus::kReturned) {
      group.contract = contract_of(candidate.describe(dtype, c.direction), dtype);
    }
    group.evidence.push_back(evidence);
  }

  void begin_record() {
    writer_->run({"gate", options_.arguments, RINGPROOF_VERSION, RINGPROOF_COMMIT, utc_now(), options_.cases.tier,
                  options_.cases.seed, machine_.cpu, machine_.os, RINGPROOF_COMPILER,
                  options_.threads > 0 ? options_.threads : machine_.cores, machine_.memory_bytes, RINGPROOF_CUDA_BUILD,
                  machine_.cuda_device, "threads"});
  }

  const GateOptions& options_;
  std::vector<Case> cases_;
  Machine machine_;
  std::vector<Candidate> candidates_;
  std::vector<Buffers> buffers_;
  std::optional<ResultsWriter> writer_;
  std::map<std::pair<std::string, Dtype>, Group> groups_;
  std::vector<NotRun> not_run_, not_asked_;
  std::vector<std::string> nothing_judged_;
  std::map<std::string, double> shrink_seconds_;  // by candidate
  std::int64_t cases_done_ = 0, sequence_ = 0;
};

void require_known(const std::vector<std::string>& needs) {
  for (const std::string& need : needs) {
    if (need != "cuda" && need != "nccl" && need != "mpi") {
      throw InputError("--require knows cuda, nccl and mpi, not '" + need + "'");
    }
  }
}

// A verdict stands whether or not its JUnit file can be written; an acceptance without the file is none.
ExitCode leave_junit(const std::string& out, std::span<const Verdict> verdicts, ExitCode code) {
  try {
    write_junit(out, verdicts);
    return code;
  } catch (const Error& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    return code == ExitCode::kAccepted ? ExitCode::kInconclusive : code;
  }
}

}  // namespace

ExitCode run_gate(const GateOptions& options) {
  require_known(options.require);
  const auto start = std::chrono::steady_clock::now();
  const Machine machine = this_machine();
  CaseChoice choice = options.cases;
  choice.memory_bytes_max = machine.memory_bytes;
  GateRun run(options, choose_cases(choice), machine);
  interrupted = 0;
  std::signal(SIGINT, note_interrupt);
  run.judge_all();
  std::signal(SIGINT, SIG_DFL);
  const std::vector<Verdict> verdicts = run.verdicts();
  const ExitCode code = run.exit_code(verdicts);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (run.writer()) {
    for (const NotRun& one : run.not_run()) run.writer()->not_run(one.what, one.why);
    for (const Verdict& verdict : verdicts) run.writer()->verdict(verdict);
    run.writer()->end({static_cast<int>(code), run.cases_done() < run.cases_asked(), run.cases_done(), seconds});
  }
  print_table(verdicts);
  for (const NotRun& one : run.not_run()) fmt::print("not run: {}: {}\n", one.what, one.why);
  for (const NotRun& one : run.not_asked()) fmt::print("not asked: {}: {}\n", one.what, one.why);
  for (const std::string& name : run.nothing_judged()) fmt::print("inconclusive: {}: nothing was judged\n", name);
  for (const std::string& need : run.missing_requirements()) fmt::print("inconclusive: --require {}: not here\n", need);
  if (run.cases_done() < run.cases_asked()) {
    fmt::print("interrupted after {} of {} Cases; what was finished is kept\n", run.cases_done(), run.cases_asked());
  }
  print_closing(code, run.cases_done(), seconds, options.out);
  return options.out.empty() ? code : leave_junit(options.out, verdicts, code);
}

}  // namespace ringproof

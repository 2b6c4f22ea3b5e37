#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ci/gate.h"
#include "ci/gate_coverage.h"
#include "ci/gate_power.h"
#include "ci/gate_table.h"
#include "ci/interrupt.h"
#include "ci/machine.h"
#include "ci/progress.h"
#include "reference/judge/dropped_mass.h"
#include "reference/judge/properties.h"
#include "reference/judge/run.h"
#include "reference/judge/schedule_traffic.h"
#include "reference/judge/session.h"
#include "reports/results.h"

namespace ringproof {

/// One run of the gate: Cases outermost, candidates inside. Evidence is written as it comes.
class GateRun {
 public:
  /// Chooses candidates and opens the records. Throws InputError.
  GateRun(const GateOptions& options, std::vector<Case> cases, const Machine& machine);

  /// Judges every candidate on every Case, until Ctrl-C.
  void judge_all();

  /// One verdict per candidate and storage dtype that was asked anything. Call once, after judge_all.
  std::vector<Verdict> verdicts();

  ExitCode exit_code(std::span<const Verdict> verdicts) const;

  /// What --require names and is not here.
  std::vector<std::string> missing_requirements() const;

  /// What the run would have seen.
  std::vector<ClassPower> powers() const { return power_.all(); }

  /// What ranks did, by candidate and topology.
  std::vector<ScheduleTraffic> traffic() const;

  /// Writes what did not run, the verdicts, the power and the end, where records are kept.
  void end_record(std::span<const Verdict> verdicts, ExitCode code, double seconds);

  const GateCoverage& coverage() const { return coverage_; }
  const std::vector<NotRun>& not_run() const { return not_run_; }
  const std::vector<NotRun>& not_asked() const { return not_asked_; }
  /// What kernels from outside say beside their verdict: candidate and sentence.
  const std::vector<NotRun>& notes() const { return notes_; }
  const std::vector<std::string>& nothing_judged() const { return nothing_judged_; }
  std::int64_t cases_done() const { return cases_done_; }
  std::int64_t cases_asked() const { return static_cast<std::int64_t>(cases_.size()); }

 private:
  // A candidate on one storage dtype: what one verdict speaks of.
  struct Group {
    std::string contract;
    Description description;  // as it stood at its last call that returned
    std::vector<Evidence> evidence;
    std::vector<std::string> smallest_cases;  // of each evidence, "" where not looked for
    DroppedMass dropped;                      // of its block_sparse Cases
  };

  // A tier as it stands, not Cases, a topology or ranks of the user's choice.
  bool promises_a_tier() const {
    return !options_.cases.tier.empty() && !options_.cases.topology && options_.ranks == 0;
  }
  int threads() const { return options_.threads > 0 ? options_.threads : machine_.cores; }
  void begin_record();
  bool judge(const Case& c, const Reference* reference, const std::string& failure);
  Evidence judge_next(Session& session, const Reference& reference, Got& got);
  bool is_cut_short(const Evidence& evidence) const;
  void judge_again(const Reference& reference);
  void end_sessions();
  void note(Session& session, const Case& c, Evidence evidence);
  std::string find_smallest(Session& session, const Case& c, Evidence& evidence);
  void print_trouble(const CaseVerdict& verdict, const std::string& candidate);

  const GateOptions& options_;
  std::vector<Case> cases_;
  Machine machine_;
  Progress progress_;
  std::optional<Interrupt> interrupt_;  // while judging
  std::vector<Candidate> candidates_;
  std::vector<Session> sessions_;  // one per candidate
  PropertyExaminer examiner_;
  PropertyReferences references_;
  GateCoverage coverage_;
  PowerLedger power_;
  std::optional<ResultsWriter> writer_;
  std::map<std::pair<std::string, Dtype>, Group> groups_;
  std::map<std::tuple<std::string, Schedule, int, int>, ScheduleTraffic> traffic_;
  std::vector<NotRun> not_run_, not_asked_, notes_;
  std::vector<std::string> nothing_judged_;
  std::map<std::string, double> shrink_seconds_;  // by candidate
  std::map<std::string, int> troubles_;           // rejected and inconclusive Cases, by candidate
  std::int64_t cases_done_ = 0, sequence_ = 0;
};

}  // namespace ringproof

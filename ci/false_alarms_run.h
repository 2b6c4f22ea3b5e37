#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "reference/spec/candidate.h"
#include "reference/spec/case.h"

namespace ringproof {

/// A correct kernel that was not accepted: rejected, left undecided, or refusing what it declares.
struct FalseAlarm {
  std::string kernel;
  Dtype dtype;
  std::string case_line;            ///< "" where the run as a whole was not accepted
  std::vector<std::string> checks;  ///< that rejected it; empty where the outcome is inconclusive
  std::string sentence;
};

/// The largest value of a statistic that was seen, beside what it may come to.
struct LargestSeen {
  std::string statistic;  ///< "bias of out", "bound of lse", ...
  Dtype dtype;
  std::string over;  ///< "one Case", "one run", "all runs of a kernel"
  double value = 0, limit = 1;
  std::string kernel, case_line;  ///< of the largest; case_line "" where it is over more than one

  double used() const { return value / limit; }
};

/// What a run of `ringproof power --false-alarms` found out.
struct FalseAlarmReport {
  std::vector<std::string> kernels;
  std::int64_t runs_asked = 0, runs_done = 0;  ///< complete runs: one kernel on all Cases
  std::int64_t judgements = 0;                 ///< one kernel on one Case, answer returned; unfinished runs included
  std::int64_t outside = 0;                    ///< one kernel on one Case outside its declaration: no judgement
  std::int64_t refused = 0;                    ///< refusals of declared Cases, each of them an alarm
  std::int64_t properties_held = 0, properties_left_out = 0;  ///< check 7: asked and held, or with nothing to say
  std::vector<FalseAlarm> alarms;
  /// By statistic, dtype and over what: sure_bias against beta0, sure_noise against kNoiseMeanMax (where rows are
  /// enough to be judged), and bound used against 1. "all runs of a kernel" decides nothing in a verdict: it asks
  /// whether the limit would stand against more rows than one run has.
  std::vector<LargestSeen> largest;
  double seconds = 0;
};

/// Every correct kernel that this machine runs, each once: the built-in candidates, specimens, the unusual ones.
std::vector<Candidate> correct_kernels();

/// Runs `runs` complete verdicts, kernel after kernel and then anew, as a gate decides them: every check on every Case,
/// a Case in six called twice, properties, pooled checks, and, where the Cases are a tier (`promises_a_tier`),
/// coverage. Every further round of kernels moves the seeds of the Cases, so that no two share data (real activations
/// stay). `may_go_on` is asked before each Case, with the count of those done, of how many, and the line.
FalseAlarmReport count_false_alarms(
    const std::vector<Candidate>& kernels, const std::vector<Case>& cases, bool promises_a_tier, std::int64_t runs,
    int threads, const std::function<bool(std::int64_t, std::int64_t, const std::string&)>& may_go_on);

}  // namespace ringproof

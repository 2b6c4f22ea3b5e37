#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "property_tests/mutants/mutants.h"
#include "reference/judge/published_rules.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// On how many Cases a check rejected a candidate, and the first of them. Of a pooled check: in how many dtypes.
struct CheckCount {
  std::int64_t cases = 0;
  std::string first_case;
};

/// A row of the matrix: one mutant or one correct kernel.
struct PowerRow {
  enum class Kind { kMutant, kCorrect, kLooselyDeclared };

  std::string name;
  Kind kind;
  std::string imitates, source, specimen;  ///< of a mutant
  Outcome want;
  Outcome outcome = Outcome::kInconclusive;  ///< over all Cases, pooled checks included
  std::int64_t cases_run = 0;                ///< Cases inside its declaration that it was judged on
  std::int64_t cases_left_out = 0;           ///< big ones it was not asked, because it had been rejected before
  std::int64_t cases_as_wanted = 0;          ///< with the outcome wanted
  /// Of a mutant: Cases on which its bits differ from its specimen's. 0 means that the edit changed nothing.
  std::int64_t cases_differing = 0;
  std::string first_case, reason;  ///< the first Case that says something about it (mutant: its first kill), and what
  std::map<std::string, CheckCount> checks;
  /// By rule. Mutants: Cases on which the rule refuses the mutant and takes its specimen. Correct kernels: Cases on
  /// which it refuses them.
  std::map<std::string, std::int64_t> rules;
  double bound_used = 0;

  bool is_as_wanted() const { return kind == Kind::kMutant ? want <= outcome : outcome == want; }
};

/// Runs (one candidate on one Case) and how many of them a rule refused.
struct RunCount {
  std::int64_t runs = 0;
  std::map<std::string, std::int64_t> refused;  ///< by rule; "ours" is the judge
};

/// What a run of `ringproof power` found out.
struct PowerMatrix {
  std::vector<PowerRow> rows;
  std::vector<std::string> checks;  ///< those that rejected anything, in the order of judgement
  std::vector<PublishedRule> rules;
  RunCount faulty;   ///< runs of mutants whose bits differ from the specimen's
  RunCount correct;  ///< runs of correct kernels
  std::int64_t cases_asked = 0, cases_done = 0;
  bool is_complete = false;                     ///< nothing was left out (measure_power)
  bool is_interrupted = false;                  ///< it ended before everything was asked
  std::int64_t mutants_without_properties = 0;  ///< not asked for properties, because a Case had rejected them
  double seconds = 0;

  std::vector<const PowerRow*> of(PowerRow::Kind kind) const;
  /// Rows that are not as wanted: mutants that survive, correct kernels that are not accepted.
  std::vector<const PowerRow*> surprises() const;
  /// Mutants that `check` rejects; and those that no other check does.
  std::int64_t killed_by(const std::string& check) const;
  std::int64_t killed_by_alone(const std::string& check) const;
  /// Mutants that a rule catches; correct kernels that it refuses.
  std::int64_t caught_by_rule(const std::string& rule) const;
  std::int64_t correct_refused_by_rule(const std::string& rule) const;
};

/// The order in which checks stand in tables: that of judgement.md, pooled ones and failed calls behind.
std::vector<std::string> in_order_of_judgement(std::vector<std::string> checks);

/// The matrix on stdout: a mark per failing check and rule, totals, survivors.
void print_matrix(const PowerMatrix& matrix);

}  // namespace ringproof

#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reference/judge/coverage_floor.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// What the Cases of a run exercised, per candidate and storage dtype: a Case counts for whoever returned from it.
class GateCoverage {
 public:
  /// Measures a Case, once for all candidates. One with NaN or infinity in its inputs counts for nothing: not all of
  /// its rows are judged.
  void look_at(const Reference& reference) {
    of_case_ = reference.inputs_with_special ? Coverage{} : coverage_of(reference);
  }

  /// Counts the Case last looked at for the candidate that this evidence is of.
  void count(const Evidence& evidence);

  /// Enters every fault class that `description` can have into the verdict, as facts, and remembers a row for the
  /// terminal. Where a class was not exercised and `is_binding`, an accepted verdict becomes inconclusive.
  void enter(const Description& description, Dtype storage, bool is_binding, Verdict& verdict);

  /// One table for the terminal: what was measured, beside its floors; then what was not exercised.
  void print() const;

 private:
  struct Measured {
    double value = 0;
    std::optional<double> floor{};
  };
  // A candidate on one storage dtype.
  struct Row {
    std::string who;
    Coverage coverage;
    std::map<std::string, Measured> measures;
  };
  static std::string text_of(const Measured& measured);

  Coverage of_case_;
  std::map<std::pair<std::string, Dtype>, Coverage> counted_;
  std::vector<Row> rows_;
  std::vector<std::string> sentences_;
};

}  // namespace ringproof

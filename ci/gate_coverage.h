#pragma once

#include <map>
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

  /// Enters every fault class that `description` can have into the verdict, as facts, and remembers a line for the
  /// terminal. Where a class was not exercised and `is_binding`, an accepted verdict becomes inconclusive.
  void enter(const Description& description, Dtype storage, bool is_binding, Verdict& verdict);

  /// One block for the terminal: what was measured, and what was not exercised.
  void print() const;

 private:
  Coverage of_case_;
  std::map<std::pair<std::string, Dtype>, Coverage> counted_;
  std::vector<std::string> lines_;
};

}  // namespace ringproof

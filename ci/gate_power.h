#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "reference/judge/power.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// What a run would have seen, gathered while it goes. Of Cases alike in dtype, mask, length class, recipe and whether
/// ranks share them, the first stands for all.
class PowerLedger {
 public:
  /// Takes the power of `reference`'s Case into account for a candidate of that description, which was judged on it.
  /// `tensors_in_run` is that of its run (tensors_of_run).
  void note(const std::string& candidate, const Description& description, const Reference& reference,
            std::int64_t tensors_in_run, int threads);

  /// By candidate, dtype, mask and length class, in this order.
  std::vector<ClassPower> all() const;

 private:
  using Kind = std::tuple<std::string, Dtype, MaskKind, int, RecipeKind, bool>;
  using Place = std::tuple<std::string, Dtype, MaskKind, int>;

  std::set<Kind> measured_;
  std::map<Place, ClassPower> powers_;
  // Of the Case at work: its candidates mostly declare alike.
  std::string case_line_;
  std::unique_ptr<PowerMeter> meter_;
  std::vector<std::tuple<Arithmetic, bool, Power>> of_case_;
};

/// The table a gate closes with: per dtype and mask the floor faults seen and the least effects rejected, those of the
/// candidate it saw least of; then what was not seen, and why.
void print_power(std::span<const ClassPower> powers);

}  // namespace ringproof

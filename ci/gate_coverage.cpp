// A verdict over a tier promises that every fault class was looked for, so a tier that does not exercise one is
// inconclusive there. Who names the Cases knows what was asked: there it is said and changes nothing.

#include "ci/gate_coverage.h"

#include <fmt/format.h>

namespace ringproof {

void GateCoverage::count(const Evidence& evidence) {
  if (evidence.status != CallStatus::kReturned) return;
  const auto [found, is_new] = counted_.try_emplace({evidence.candidate, evidence.dtype}, of_case_);
  if (!is_new) found->second = both(found->second, of_case_);
}

void GateCoverage::enter(const Description& description, Dtype storage, bool is_binding, Verdict& verdict) {
  const Coverage coverage = counted_[{verdict.candidate, storage}];
  std::string measures;
  for (const FaultClass fault : kFaultClasses) {
    if (!can_have(fault, description)) continue;
    const FaultClassFacts facts = facts_of(fault);
    const std::optional<double> floor = floor_of(fault, storage);
    const std::string against =
        floor ? fmt::format("floor {:.2g}: from there on the mutant {} is rejected", *floor, facts.mutant)
              : fmt::format("no floor in {}", to_string(storage));
    verdict.facts.push_back({"coverage of " + facts.name, measure_of(coverage, fault), "1", against});
    const std::string text = fmt::format("{} {:.2g}", facts.measured, measure_of(coverage, fault));
    if (measures.find(text) == std::string::npos) measures += (measures.empty() ? "" : ", ") + text;
  }
  const std::string who = fmt::format("{} {}", verdict.candidate, to_string(storage));
  const auto& rows = coverage.rows_by_count;
  lines_.push_back(fmt::format("coverage: {}: {}; {} partly masked tiles; rows of 0, 1, <= 64, <= 1024, more keys: {}",
                               who, measures, coverage.tiles_partly_masked, fmt::join(rows, " ")));
  for (const std::string& sentence : not_exercised(coverage, description, storage)) {
    lines_.push_back(fmt::format("{}: {}: {}", is_binding ? "inconclusive" : "not exercised", who, sentence));
    if (is_binding) verdict.outcome = worst(verdict.outcome, Outcome::kInconclusive);
  }
}

void GateCoverage::print() const {
  for (const std::string& line : lines_) fmt::print("{}\n", line);
}

}  // namespace ringproof

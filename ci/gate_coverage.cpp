// A verdict over a tier promises that every fault class was looked for, so a tier that does not exercise one is
// inconclusive there. Who names the Cases knows what was asked: there it is said and changes nothing.

#include "ci/gate_coverage.h"

#include <fmt/format.h>

#include <algorithm>

namespace ringproof {

void GateCoverage::count(const Evidence& evidence) {
  if (evidence.status != CallStatus::kReturned) return;
  const auto [found, is_new] = counted_.try_emplace({evidence.candidate, evidence.dtype}, of_case_);
  if (!is_new) found->second = both(found->second, of_case_);
}

void GateCoverage::enter(const Description& description, Dtype storage, bool is_binding, Verdict& verdict) {
  const Coverage coverage = counted_[{verdict.candidate, storage}];
  Row row{fmt::format("{} {}", verdict.candidate, to_string(storage)), coverage, {}};
  for (const FaultClass fault : kFaultClasses) {
    if (!can_have(fault, description)) continue;
    const FaultClassFacts facts = facts_of(fault);
    const std::optional<double> floor = floor_of(fault, storage);
    const std::string against =
        floor ? fmt::format("floor {:.2g}: from there on the mutant {} is rejected", *floor, facts.mutant)
              : fmt::format("no floor in {}", to_string(storage));
    verdict.facts.push_back({"coverage of " + facts.name, measure_of(coverage, fault), "1", against});
    // Two classes may share a measure: the higher floor is the one to reach.
    Measured& measured = row.measures[facts.measured];
    measured.value = measure_of(coverage, fault);
    if (floor) measured.floor = std::max(measured.floor.value_or(*floor), *floor);
  }
  for (const std::string& sentence : not_exercised(coverage, description, storage)) {
    sentences_.push_back(fmt::format("{}: {}: {}", is_binding ? "inconclusive" : "not exercised", row.who, sentence));
    if (is_binding) verdict.outcome = worst(verdict.outcome, Outcome::kInconclusive);
  }
  rows_.push_back(std::move(row));
}

// "0.44 (0.00084)"
std::string GateCoverage::text_of(const Measured& measured) {
  const std::string floor = measured.floor ? fmt::format("{:.2g}", *measured.floor) : "none";
  return fmt::format("{:.2g} ({})", measured.value, floor);
}

void GateCoverage::print() const {
  if (rows_.empty()) return;
  std::size_t who_width = 8;
  std::vector<std::string> columns;  // what somebody's Cases were measured by
  for (const FaultClass fault : kFaultClasses) {
    const std::string name = facts_of(fault).measured;
    const auto has = [&](const Row& row) { return row.measures.count(name) > 0; };
    const bool is_new = std::find(columns.begin(), columns.end(), name) == columns.end();
    if (is_new && std::any_of(rows_.begin(), rows_.end(), has)) columns.push_back(name);
  }
  for (const Row& row : rows_) who_width = std::max(who_width, row.who.size());
  fmt::print(
      "\nCoverage: what the Cases made it do, and in brackets the floor from which its fault classes are seen.\n");
  fmt::print("{:<{}}", "coverage", who_width);
  for (const std::string& name : columns) fmt::print(" {:>16}", name);
  fmt::print(" {:>12}  rows of 0, 1, <= 64, <= 1024, more keys\n", "masked tiles");
  for (const Row& row : rows_) {
    fmt::print("{:<{}}", row.who, who_width);
    for (const std::string& name : columns) {
      const auto found = row.measures.find(name);
      fmt::print(" {:>16}", found == row.measures.end() ? "-" : text_of(found->second));
    }
    fmt::print(" {:>12}  {}\n", row.coverage.tiles_partly_masked, fmt::join(row.coverage.rows_by_count, " "));
  }
  for (const std::string& sentence : sentences_) fmt::print("{}\n", sentence);
}

}  // namespace ringproof

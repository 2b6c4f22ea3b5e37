#include "ci/power_files.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "ci/commit.h"
#include "ci/files.h"
#include "ci/machine.h"

namespace ringproof {
namespace {

using Json = nlohmann::ordered_json;

const char* to_string(PowerRow::Kind kind) {
  switch (kind) {
    case PowerRow::Kind::kMutant: return "mutant";
    case PowerRow::Kind::kCorrect: return "correct";
    default: return "loosely declared";
  }
}

// JSON has no infinity.
Json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
}

Json json_of(const PowerRow& row) {
  Json checks = Json::array(), rules = Json::array();
  for (const auto& [name, count] : row.checks) {
    checks.push_back({{"name", name}, {"cases", count.cases}, {"first_case", count.first_case}});
  }
  for (const auto& [name, cases] : row.rules) rules.push_back({{"name", name}, {"cases", cases}});
  return {{"name", row.name},
          {"kind", to_string(row.kind)},
          {"imitates", row.imitates},
          {"source", row.source},
          {"specimen", row.specimen},
          {"want", to_string(row.want)},
          {"outcome", to_string(row.outcome)},
          {"as_wanted", row.is_as_wanted()},
          {"cases_run", row.cases_run},
          {"cases_left_out", row.cases_left_out},
          {"cases_as_wanted", row.cases_as_wanted},
          {"cases_differing", row.cases_differing},
          {"first_case", row.first_case},
          {"reason", row.reason},
          {"bound_used", number(row.bound_used)},
          {"checks", checks},
          {"rules", rules}};
}

std::int64_t refused(const RunCount& runs, const std::string& rule) {
  const auto found = runs.refused.find(rule);
  return found == runs.refused.end() ? 0 : found->second;
}

Json json_of(const PowerInfo& info, const PowerMatrix& matrix) {
  Json checks = Json::array(), rules = Json::array(), rows = Json::array(), unseen = Json::array();
  for (const std::string& check : matrix.checks) {
    checks.push_back({{"name", check},
                      {"mutants_killed", matrix.killed_by(check)},
                      {"mutants_killed_alone", matrix.killed_by_alone(check)}});
  }
  for (const PublishedRule& rule : matrix.rules) {
    rules.push_back({{"name", rule.name},
                     {"source", rule.source},
                     {"mutants_caught", matrix.caught_by_rule(rule.name)},
                     {"correct_refused", matrix.correct_refused_by_rule(rule.name)},
                     {"faulty_runs_refused", refused(matrix.faulty, rule.name)},
                     {"correct_runs_refused", refused(matrix.correct, rule.name)}});
  }
  for (const PowerRow& row : matrix.rows) rows.push_back(json_of(row));
  for (const UnseenFault& fault : unseen_faults()) {
    unseen.push_back({{"fault", fault.fault}, {"reason", fault.reason}, {"floor", fault.floor}});
  }
  return {{"command", "power"},
          {"arguments", info.arguments},
          {"version", RINGPROOF_VERSION},
          {"commit", built_commit()},
          {"written", utc_now()},
          {"tier", info.tier},
          {"seed", info.seed},
          {"cpu", info.cpu},
          {"threads", info.threads},
          {"cases_asked", matrix.cases_asked},
          {"cases_done", matrix.cases_done},
          {"interrupted", matrix.is_interrupted},
          {"complete", matrix.is_complete},
          {"mutants_without_properties", matrix.mutants_without_properties},
          {"time_s", matrix.seconds},
          {"exit_code", info.exit_code},
          {"faulty_runs", matrix.faulty.runs},
          {"faulty_runs_refused", refused(matrix.faulty, "ours")},
          {"correct_runs", matrix.correct.runs},
          {"correct_runs_refused", refused(matrix.correct, "ours")},
          {"checks", checks},
          {"rules", rules},
          {"rows", rows},
          {"unseen", unseen}};
}

std::string cell(std::int64_t cases) { return cases == 0 ? "" : std::to_string(cases); }

std::string markdown_head(const std::string& first, const PowerMatrix& matrix, const std::string& last) {
  std::string names = "| " + first + " |", rule = "| --- |";
  const auto add = [&](const std::string& name) {
    names += " " + name + " |";
    rule += " ---: |";
  };
  for (const std::string& check : matrix.checks) add(check);
  for (const PublishedRule& one : matrix.rules) add("*" + one.name + "*");
  return names + " Cases run | " + last + " |\n" + rule + " ---: | --- |\n";
}

std::string markdown_row(const PowerMatrix& matrix, const PowerRow& row) {
  std::string line = "| " + std::string(row.is_as_wanted() ? "" : "**NOT AS WANTED** ") + row.name + " |";
  for (const std::string& check : matrix.checks) {
    const auto found = row.checks.find(check);
    line += " " + cell(found == row.checks.end() ? 0 : found->second.cases) + " |";
  }
  for (const PublishedRule& rule : matrix.rules) {
    const auto found = row.rules.find(rule.name);
    line += " " + cell(found == row.rules.end() ? 0 : found->second) + " |";
  }
  const std::string& said = row.kind == PowerRow::Kind::kMutant ? row.first_case : row.reason;
  return line + fmt::format(" {} | {}{} |\n", row.cases_run, said.empty() ? "" : "`" + said + "`",
                            row.imitates.empty() ? "" : " " + row.imitates);
}

std::string markdown_of(const PowerInfo& info, const PowerMatrix& matrix) {
  const auto mutants = matrix.of(PowerRow::Kind::kMutant), correct = matrix.of(PowerRow::Kind::kCorrect);
  std::string text = fmt::format(
      "# Power\n\n`ringproof {}`, commit {}: {} mutants and {} correct kernels on {} Cases in {:.0f} s on {} threads "
      "of "
      "{}.\n\nA number says on how many Cases a check rejects the mutant; a rule (in italics) counts where it refuses "
      "the mutant and takes its specimen.{}\n\n",
      fmt::join(info.arguments, " "), built_commit(), mutants.size(), correct.size(), matrix.cases_done, matrix.seconds,
      info.threads, info.cpu,
      matrix.is_complete
          ? ""
          : " Mutants already rejected are not asked the biggest Cases, nor for properties; `--complete` "
            "leaves nothing out.");
  text += "| judge | mutants caught | correct kernels refused | faulty runs refused | correct runs refused |\n";
  text += "| --- | ---: | ---: | ---: | ---: |\n";
  std::int64_t killed = 0, accepted = 0;
  for (const PowerRow* row : mutants) killed += row->is_as_wanted();
  for (const PowerRow* row : correct) accepted += row->is_as_wanted();
  const auto judge = [&](const std::string& name, std::int64_t caught, std::int64_t not_taken, const std::string& key) {
    text += fmt::format("| {} | {} of {} | {} of {} | {} of {} | {} of {} |\n", name, caught, mutants.size(), not_taken,
                        correct.size(), refused(matrix.faulty, key), matrix.faulty.runs, refused(matrix.correct, key),
                        matrix.correct.runs);
  };
  judge("**Ringproof**", killed, static_cast<std::int64_t>(correct.size()) - accepted, "ours");
  for (const PublishedRule& rule : matrix.rules) {
    judge(rule.name, matrix.caught_by_rule(rule.name), matrix.correct_refused_by_rule(rule.name), rule.name);
  }
  text += "\n| check | mutants killed | by it alone |\n| --- | ---: | ---: |\n";
  for (const std::string& check : matrix.checks) {
    text += fmt::format("| {} | {} | {} |\n", check, matrix.killed_by(check), matrix.killed_by_alone(check));
  }
  text += "\n## Mutants\n\n" + markdown_head("mutant", matrix, "first kill, what it imitates");
  for (const PowerRow* row : mutants) text += markdown_row(matrix, *row);
  text += "\n## Correct kernels\n\n" + markdown_head("kernel", matrix, "why not accepted");
  for (const PowerRow* row : correct) text += markdown_row(matrix, *row);
  for (const PowerRow* row : matrix.of(PowerRow::Kind::kLooselyDeclared)) text += markdown_row(matrix, *row);
  text += "\n## What these Cases cannot see\n\n| fault | why | seen |\n| --- | --- | --- |\n";
  for (const UnseenFault& fault : unseen_faults()) {
    text += fmt::format("| {} | {} | {} |\n", fault.fault, fault.reason, fault.floor);
  }
  return text;
}

}  // namespace

PowerFiles::PowerFiles(const std::string& folder) : folder_(folder) {
  if (!folder.empty()) require_writable(folder);
}

void PowerFiles::write(const PowerInfo& info, const PowerMatrix& matrix) const {
  if (folder_.empty()) return;
  write_whole(folder_ + "/power.json", json_of(info, matrix).dump(1, ' ', true) + "\n");
  write_whole(folder_ + "/power.md", markdown_of(info, matrix));
}

}  // namespace ringproof

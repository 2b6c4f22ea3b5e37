// What a user sees of a count of false alarms, and alarms.json. The run itself is false_alarms_run.cpp.

#include "ci/false_alarms.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "ci/commit.h"
#include "ci/false_alarms_run.h"
#include "ci/files.h"
#include "ci/interrupt.h"
#include "ci/machine.h"
#include "ci/progress.h"
#include "property_tests/mutants/mutants.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Json = nlohmann::ordered_json;

// The named ones; with none named those that mutants are edits of, or, with no mutant either, all.
std::vector<Candidate> choose_kernels(const PowerOptions& options) {
  const std::vector<Candidate> all = correct_kernels();
  const auto take = [](const auto& from, const std::string& name, const std::string& what) {
    const auto found = std::find_if(from.begin(), from.end(), [&](const auto& one) { return one.name == name; });
    if (found != from.end()) return *found;
    std::string known;
    for (const auto& one : from) known += (known.empty() ? "" : ", ") + one.name;
    throw InputError("there is no " + what + " '" + name + "'; there are " + known);
  };
  std::vector<Candidate> chosen, planted;
  const auto add = [&](const Candidate& kernel) {
    const auto is_it = [&](const Candidate& one) { return one.name == kernel.name; };
    if (std::none_of(chosen.begin(), chosen.end(), is_it)) chosen.push_back(kernel);
  };
  for (const std::string& name : options.kernels) add(take(all, name, "correct kernel"));
  for (const std::string& name : options.mutants) {
    const Mutant mutant = take(mutants(), name, "mutant");
    if (options.kernels.empty()) add(mutant.specimen);
    planted.push_back(mutant.candidate);
    planted.back().name = mutant.name;
  }
  if (chosen.empty()) chosen = all;
  for (const Candidate& mutant : planted) add(mutant);
  return chosen;
}

std::string outcome_of(const FalseAlarm& alarm) {
  return alarm.checks.empty() ? "inconclusive" : fmt::format("rejected by {}", fmt::join(alarm.checks, ", "));
}

void print_alarm(const FalseAlarm& alarm) {
  fmt::print("FALSE ALARM: {}, {}: {}\n  {}\n", alarm.kernel, to_string(alarm.dtype), outcome_of(alarm),
             alarm.sentence);
  if (alarm.case_line.empty()) return;
  fmt::print("  rerun: ringproof power --false-alarms 1 --kernel {} --case '{}'\n", alarm.kernel, alarm.case_line);
}

void print_largest(const FalseAlarmReport& report) {
  fmt::print(
      "\nnearest to a limit, of all that was seen (used = value / limit, at most 1):\n{:<28} {:<9} {:<21}"
      " {:>10} {:>9} {:>8}  {}\n",
      "check", "dtype", "over", "value", "limit", "used", "kernel, Case");
  for (const LargestSeen& seen : report.largest) {
    fmt::print("{:<28} {:<9} {:<21} {:>10.3g} {:>9.3g} {:>8.3f}  {}{}\n", seen.statistic, to_string(seen.dtype),
               seen.over, seen.value, seen.limit, seen.used(), seen.kernel,
               seen.case_line.empty() ? "" : ", " + seen.case_line);
  }
}

// JSON has no infinity.
Json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
}

Json json_of(const PowerOptions& options, const FalseAlarmReport& report, const Machine& machine, int threads,
             ExitCode code) {
  Json alarms = Json::array(), largest = Json::array();
  for (const FalseAlarm& alarm : report.alarms) {
    alarms.push_back({{"kernel", alarm.kernel},
                      {"dtype", to_string(alarm.dtype)},
                      {"case", alarm.case_line},
                      {"checks", alarm.checks},
                      {"reason", alarm.sentence}});
  }
  for (const LargestSeen& seen : report.largest) {
    largest.push_back({{"check", seen.statistic},
                       {"dtype", to_string(seen.dtype)},
                       {"over", seen.over},
                       {"value", number(seen.value)},
                       {"limit", number(seen.limit)},
                       {"used", number(seen.used())},
                       {"kernel", seen.kernel},
                       {"case", seen.case_line}});
  }
  return {{"command", "power --false-alarms"},
          {"arguments", options.arguments},
          {"version", RINGPROOF_VERSION},
          {"commit", built_commit()},
          {"written", utc_now()},
          {"tier", options.cases.tier},
          {"seed", options.cases.seed},
          {"cpu", machine.cpu},
          {"threads", threads},
          {"kernels", report.kernels},
          {"runs_asked", report.runs_asked},
          {"runs_done", report.runs_done},
          {"interrupted", report.runs_done < report.runs_asked},
          {"judgements", report.judgements},
          {"outside", report.outside},
          {"refused", report.refused},
          {"properties_held", report.properties_held},
          {"properties_left_out", report.properties_left_out},
          {"time_s", report.seconds},
          {"exit_code", static_cast<int>(code)},
          {"alarms", alarms},
          {"largest", largest}};
}

ExitCode print_outcome(const FalseAlarmReport& report) {
  for (const FalseAlarm& alarm : report.alarms) print_alarm(alarm);
  print_largest(report);
  const bool unfinished = report.runs_done < report.runs_asked;
  if (unfinished) {
    fmt::print("interrupted after {} of {} runs; what was finished is kept\n", report.runs_done, report.runs_asked);
  }
  fmt::print(
      "\n{} judgements and {} properties held; besides, {} Cases outside a declaration, {} refused, {} properties left "
      "out\n",
      report.judgements, report.properties_held, report.outside, report.refused, report.properties_left_out);
  fmt::print("{}: {} complete runs of {} correct kernels, {} judgements in {:.0f} s\n",
             report.alarms.empty() ? "no false alarm" : fmt::format("{} FALSE ALARMS", report.alarms.size()),
             report.runs_done,
             std::min<std::size_t>(report.kernels.size(), static_cast<std::size_t>(report.runs_asked)),
             report.judgements, report.seconds);
  if (!report.alarms.empty()) return ExitCode::kRejected;
  return unfinished ? ExitCode::kInconclusive : ExitCode::kAccepted;
}

}  // namespace

ExitCode run_false_alarms(const PowerOptions& options) {
  const Machine machine = this_machine();
  CaseChoice choice = options.cases;
  choice.memory_bytes_max = machine.memory_bytes;
  const std::vector<Case> cases = choose_cases(choice);
  const std::vector<Candidate> kernels = choose_kernels(options);
  const int threads = options.threads > 0 ? options.threads : machine.cores;
  if (!options.out.empty()) require_writable(options.out);
  std::optional<Progress> progress;
  const Interrupt interrupt;
  const bool promises_a_tier = !choice.tier.empty() && choice.lines.empty();
  const FalseAlarmReport report =
      count_false_alarms(kernels, cases, promises_a_tier, options.false_alarms, threads,
                         [&](std::int64_t done, std::int64_t total, const std::string& line) {
                           if (!progress) progress.emplace(total);
                           progress->show(done, line);
                           return !interrupt.asked();
                         });
  if (progress) progress->clear();
  const ExitCode code = print_outcome(report);
  if (!options.out.empty()) {
    write_whole(options.out + "/alarms.json",
                json_of(options, report, machine, threads, code).dump(1, ' ', true) + "\n");
  }
  return code;
}

}  // namespace ringproof

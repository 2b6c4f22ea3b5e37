#include "ci/gate_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

std::string share(double bound_used) { return std::isfinite(bound_used) ? share_text(bound_used) : "inf"; }

// What correct kernels show, and what 16-bit ones are judged by; only where rows were independent draws.
void print_statistics(std::span<const Verdict> verdicts, std::size_t name_width, std::size_t scope_width) {
  const auto any = [](const Verdict& v) { return v.noise.rows + v.bias.rows > 0; };
  if (std::none_of(verdicts.begin(), verdicts.end(), any)) return;
  fmt::print("\n{:<{}}  {:<{}}  {:>12} {:>6}   {:>9} {:>9} {:>8} {:>6}\n", "statistics", name_width, "scope",
             scope_width, "noise figure", "rows", "bias", "std error", "limit", "rows");
  for (const Verdict& v : verdicts) {
    if (!any(v)) continue;
    const std::string noise = v.noise.rows > 0 ? fmt::format("{:.3f}", noise_figure(v.noise)) : "-";
    fmt::print("{:<{}}  {:<{}}  {:>12} {:>6}   {:>9.1e} {:>9.1e} {:>8.1e} {:>6}\n", v.candidate, name_width,
               v.scope_short, scope_width, noise, v.noise.rows, bias(v.bias), bias_error(v.bias), v.bias_limit,
               v.bias.rows);
  }
}

// Counts on one line, what needs a measure beside it on its own; coverage has its table.
void print_facts(const Verdict& v) {
  std::string counts;
  for (const Fact& fact : v.facts) {
    if (fact.name.starts_with("coverage of ")) continue;
    const bool is_count = fact.unit == "1" && fact.value == std::floor(fact.value);
    if (is_count) {
      counts += fmt::format("{}{}: {}", counts.empty() ? "" : "; ", fact.name, fact.value);
    } else {
      const std::string unit = fact.unit == "1" ? "" : " " + fact.unit;
      fmt::print("  {}: {:.3g}{} (against {})\n", fact.name, fact.value, unit, fact.measured_against);
    }
  }
  if (!counts.empty()) fmt::print("  {}\n", counts);
}

// "1234 =", "1234 (1230)".
std::string tally_text(const Tally& tally) {
  return tally.got == tally.want ? fmt::format("{} =", tally.got) : fmt::format("{} ({})", tally.got, tally.want);
}

constexpr std::size_t kSchedulesShown = 12;  // of more, those that were not accepted

const char* word_for(ExitCode code) {
  switch (code) {
    case ExitCode::kAccepted: return "accepted";
    case ExitCode::kRejected: return "REJECTED";
    case ExitCode::kRefusals: return "REFUSED: more declared Cases than --allow-unsupported";
    default: return "INCONCLUSIVE";
  }
}

}  // namespace

void print_table(std::span<const Verdict> verdicts) {
  std::size_t name_width = 9, scope_width = 5;
  for (const Verdict& verdict : verdicts) {
    name_width = std::max(name_width, verdict.candidate.size());
    scope_width = std::max(scope_width, verdict.scope_short.size());
  }
  fmt::print("\n{:<{}}  {:<{}}  {:>5} {:>8} {:>11} {:>12} {:>8} {:>10} {:>8}\n", "candidate", name_width, "scope",
             scope_width, "cases", "accepted", "unsupported", "inconclusive", "rejected", "bound used", "time");
  for (const Verdict& v : verdicts) {
    fmt::print("{:<{}}  {:<{}}  {:>5} {:>8} {:>11} {:>12} {:>8} {:>10} {:>6.2f} s\n", v.candidate, name_width,
               v.scope_short, scope_width, v.count_cases, v.count_accepted, v.count_unsupported + v.count_refused,
               v.count_inconclusive, v.count_rejected, share(v.bound_used), v.time_ms / 1000);
  }
  print_statistics(verdicts, name_width, scope_width);
  fmt::print("\n");
  for (const Verdict& v : verdicts) {
    fmt::print("{}: {} ({}), {}: {} of {} Cases\n", v.candidate, to_string(v.outcome), v.contract, v.scope,
               v.count_accepted, v.count_cases - v.count_unsupported);
    if (!v.reason.empty()) fmt::print("  {}\n", v.reason);
    print_facts(v);
  }
}

void print_traffic(std::span<const ScheduleTraffic> traffic) {
  if (traffic.empty()) return;
  std::size_t name_width = 5;
  for (const ScheduleTraffic& one : traffic) name_width = std::max(name_width, one.candidate.size());
  fmt::print(
      "\nRanks: what all ranks sent, in how many exchanges, the most that buffers of one rank took, and the pairs of "
      "query and\nkey they computed; = equals its formula. Work: of the busiest rank over the mean, of the Case that "
      "took longest.\n");
  fmt::print("{:<{}}  {:<18} {:>5}  {:<12} {:>16} {:>11} {:>16} {:>16} {:>6}\n", "ranks", name_width, "topology",
             "cases", "outcome", "bytes sent", "exchanges", "peak, bytes", "pairs", "work");
  std::size_t not_shown = 0;
  for (const ScheduleTraffic& one : traffic) {
    if (traffic.size() > kSchedulesShown && one.outcome == Outcome::kAccepted) {
      ++not_shown;
      continue;
    }
    fmt::print("{:<{}}  {:<18} {:>5}  {:<12} {:>16} {:>11} {:>16} {:>16} {:>6.2f}\n", one.candidate, name_width,
               to_string(one.topology), one.count_cases, to_string(one.outcome), tally_text(one.bytes_sent),
               tally_text(one.exchanges), tally_text(one.memory_bytes_peak), tally_text(one.pairs),
               one.work_over_mean());
  }
  if (not_shown > 0) {
    fmt::print("{} topologies, accepted, with every count equal to its formula; --out keeps each\n", not_shown);
  }
}

void print_closing(ExitCode code, std::int64_t cases, double seconds, const std::string& out) {
  fmt::print("{}: {} {} in {:.1f} s", word_for(code), cases, cases == 1 ? "Case" : "Cases", seconds);
  if (!out.empty()) fmt::print("; records in {}", out);
  fmt::print("\n");
}

}  // namespace ringproof

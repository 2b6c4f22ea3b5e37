#include "ci/gate_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

// Rounded toward zero just below 1, so that what is inside does not read as the border.
std::string share(double bound_used) {
  if (!std::isfinite(bound_used)) return "inf";
  const bool just_inside = bound_used < 1 && 0.999 <= bound_used;
  return just_inside ? "0.999" : fmt::format("{:.3g}", bound_used);
}

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
  fmt::print("\n");
  for (const Verdict& v : verdicts) {
    fmt::print("{}: {} ({}), {}: {} of {} Cases\n", v.candidate, to_string(v.outcome), v.contract, v.scope,
               v.count_accepted, v.count_cases - v.count_unsupported);
    for (const Fact& fact : v.facts) {
      const std::string unit = fact.unit == "1" ? "" : " " + fact.unit;
      fmt::print("  {}: {:.3g}{} (against {})\n", fact.name, fact.value, unit, fact.measured_against);
    }
  }
}

void print_closing(ExitCode code, std::int64_t cases, double seconds, const std::string& out) {
  fmt::print("{}: {} {} in {:.1f} s", word_for(code), cases, cases == 1 ? "Case" : "Cases", seconds);
  if (!out.empty()) fmt::print("; records in {}", out);
  fmt::print("\n");
}

}  // namespace ringproof

#pragma once

#include <span>
#include <string>

#include "ci/exit_codes.h"
#include "reference/judge/schedule_traffic.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// Something that did not run, and why.
struct NotRun {
  std::string what, why;
};

/// The table of verdicts on stdout: candidate, scope, cases, accepted, unsupported, inconclusive, rejected,
/// bound used, time.
void print_table(std::span<const Verdict> verdicts);

/// What ranks sent, allocated and computed, per candidate and topology, beside the formulas.
void print_traffic(std::span<const ScheduleTraffic> traffic);

/// The last line: the outcome in a word, how much was judged, how long it took, where the records are.
void print_closing(ExitCode code, std::int64_t cases, double seconds, const std::string& out);

}  // namespace ringproof

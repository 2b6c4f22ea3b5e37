#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ci/cases.h"
#include "ci/exit_codes.h"

namespace ringproof {

/// What `ringproof power` was asked.
struct PowerOptions {
  std::vector<std::string> arguments;  ///< as typed, for the record
  CaseChoice cases;
  std::vector<std::string> mutants;  ///< by name; empty: all, and every correct kernel
  std::int64_t false_alarms = 0;     ///< runs of correct kernels alone (run_false_alarms); 0: the kill matrix
  std::vector<std::string> kernels;  ///< of false_alarms, by name; empty: all correct ones
  bool is_complete = false;          ///< of the kill matrix: nothing is left out (measure_power)
  std::string out;                   ///< folder of the records; "" writes nothing
  int threads = 0;                   ///< 0: all cores
};

/// Judges the judge: every mutant and every correct kernel on the Cases, and published rules on the same numbers.
/// Progress on stderr, the kill matrix on stdout, power.json (reports/power.schema.json) and power.md in `out`. Ctrl-C
/// ends it after the Case at work, with everything finished kept. Throws InputError before anything has begun.
///
/// kAccepted when every mutant was rejected (or ended as its file says) and every correct kernel accepted, else
/// kRejected, with the survivors named; kInconclusive when it was interrupted.
ExitCode run_power(const PowerOptions& options);

}  // namespace ringproof

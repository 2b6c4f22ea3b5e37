#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ci/cases.h"
#include "ci/exit_codes.h"

namespace ringproof {

/// What `ringproof bench` was asked.
struct BenchOptions {
  std::vector<std::string> candidates;  ///< by name; empty: every built-in one
  std::vector<std::string> parts;       ///< bench_parts() by name; empty: forward
  CaseChoice cases;                     ///< no lines, files or tier: a few Cases of 512 rows, one per dtype
  std::string metrics_file;  ///< lines `<part> [<candidate>] <Case line>`, # for remarks; instead of all the above
  double seconds_min = 0.2;  ///< of measured work per sample
  std::int64_t calls = 0;    ///< of a sample, whatever it takes; 0: as many as seconds_min asks for
  int samples = 5;           ///< per candidate, part and Case; each is the mean over its calls
  double repeat_share = 0;   ///< of the calls are made twice within one timing: a slowdown that is known
  bool yardsticks = false;   ///< measure what the machine can do, beside the times (ci/yardsticks.h)
  int threads = 0;           ///< of the reference; 0: all cores
  std::string json;          ///< file in Google Benchmark's schema; "" writes none
};

/// Times candidates, and parts of the judge, on Cases: a line each with the median and quartiles, progress on stderr,
/// every sample in `json`. The output of the last timed call of each sample is judged; a time whose output is not
/// accepted is not shown, and counts as rejected or inconclusive. A metric is named `<part> <candidate> <Case line>`.
/// Throws InputError before anything runs. Ctrl-C ends it after the sample at work, with what was measured written.
ExitCode run_bench(const BenchOptions& options);

}  // namespace ringproof

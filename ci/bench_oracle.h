#pragma once

#include <string>

#include "ci/exit_codes.h"

namespace ringproof {

/// What `ringproof bench oracle` was asked.
struct BenchOracleOptions {
  int threads = 0;        ///< 0: all cores
  int rounds = 5;         ///< every contender runs once a round, by turns
  bool is_short = false;  ///< one small workload, to see that everything runs
  std::string python;     ///< interpreter with NumPy; "" leaves NumPy and PyTorch out, and says so
  std::string json;       ///< file to write; "" writes none
};

/// Times the reference beside the machine's fused multiply-adds, the plain oracle and NumPy (PyTorch where it is), all
/// on the same numbers by turns within one run, and prints medians and ratios: only those mean anything on a shared
/// machine. What could not run is said. Asserts nothing about speed.
ExitCode run_bench_oracle(const BenchOracleOptions& options);

}  // namespace ringproof

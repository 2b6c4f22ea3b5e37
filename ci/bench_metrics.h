#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ci/bench.h"
#include "reference/spec/candidate.h"
#include "reference/spec/case.h"

namespace ringproof {

/// What a part of a metric needs beside its Case.
enum class PartOf {
  kCandidate,  ///< a candidate, in this process or its worker
  kJudge,      ///< nothing
  kProcess,    ///< a name, given to a process of its own
};

/// Parts by name, each with one sentence.
struct Part {
  const char* name;
  PartOf of;
  const char* sentence;
};
std::vector<Part> bench_parts();

/// One series of times.
struct Metric {
  std::string part;
  PartOf of;
  std::string who;                     ///< candidate or kernel; empty: the part knows none
  std::optional<Candidate> candidate;  ///< of PartOf::kCandidate
  Case c;

  /// `<part> [<who>] <Case line>`: its name wherever times are kept.
  std::string name() const;
};

struct MetricChoice {
  std::vector<Metric> metrics;
  std::vector<std::string> left_out;  ///< what was asked for and is not timed, a sentence each
};

/// The metrics that the options name: those of the file, or every part of every candidate on every Case that it
/// declares. Throws InputError for what nobody knows, naming the file's line, and where nothing is left.
MetricChoice choose_metrics(const BenchOptions& options);

}  // namespace ringproof

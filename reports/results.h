#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "reference/judge/power.h"
#include "reference/judge/schedule_traffic.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// What was asked and where it ran; the first line of results.jsonl.
struct RunInfo {
  std::string command;  ///< "gate"
  std::vector<std::string> arguments;
  std::string version, commit, started;  ///< started: UTC, ISO 8601
  std::string tier;                      ///< "fast", "full", "nightly", or "" when Cases were given
  std::uint64_t seed;
  std::string cpu, os, compiler;
  int threads;
  std::uint64_t memory_bytes;
  std::string cuda_build;   ///< nvcc's version, or "none"
  std::string cuda_device;  ///< the device's name, or "none"
  std::string transport;    ///< "threads"
};

/// How a run ended; the last line.
struct RunEnd {
  int exit_code;
  bool interrupted;
  std::int64_t count_cases;  ///< Cases judged, whoever the candidate
  double time_s;
};

/// Appends one JSON record a line to FOLDER/results.jsonl (schema: reports/results.schema.json) and flushes
/// each, so that an interrupted run keeps what was finished. Lines are ASCII; non-finite numbers are the
/// strings "nan", "inf", "-inf". Every record carries all its fields. Throws Error naming the file when a
/// line cannot be written whole (disk full).
class ResultsWriter {
 public:
  /// Creates the folder if it is not there, starts a new results.jsonl and removes the junit.xml, report.html
  /// and report.md that an earlier run left beside the old one. Throws InputError naming the folder when it
  /// cannot be written; nothing in it has changed then.
  explicit ResultsWriter(const std::string& folder);
  ~ResultsWriter();
  ResultsWriter(const ResultsWriter&) = delete;
  ResultsWriter& operator=(const ResultsWriter&) = delete;

  void run(const RunInfo& info);
  void not_run(const std::string& candidate, const std::string& why);
  /// `sequence` counts calls of the run from 0, in the order they were made.
  void evidence(std::int64_t sequence, const Evidence& evidence, const CaseVerdict& verdict);
  void verdict(const Verdict& verdict);
  void ranks(const ScheduleTraffic& traffic);
  void power(const ClassPower& power);
  void end(const RunEnd& end);

 private:
  void line(const std::string& json);

  std::string path_;
  std::FILE* file_;
};

/// Writes FOLDER/junit.xml, whole or not at all: a suite per candidate, a case per Case; rejected is a
/// failure, inconclusive an error, unsupported skipped, each with its reason, where the residual lies, and the commands
/// for the Case and the smallest one found; checks over all Cases fail as a case named "all Cases". Characters that
/// XML cannot hold are shown as \u001b. Throws InputError naming the file when it cannot be written.
void write_junit(const std::string& folder, std::span<const Verdict> verdicts);

}  // namespace ringproof

#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reference/judge/sampling.h"
#include "reference/spec/case.h"

namespace ringproof {

/// What a user asked to be judged on.
struct CaseChoice {
  std::vector<std::string> lines;  ///< --case
  std::vector<std::string> files;  ///< --cases; "-" reads standard input
  std::string tier;  ///< "fast", "full", "nightly"; used when neither lines nor files are given, or when named
  std::optional<Topology> topology;  ///< rewrites that of every Case
  std::uint64_t seed = 0;            ///< added to the seeds of a tier's own Cases, and orders the run
  bool in_order = false;             ///< keep the order of lines and files instead
  std::uint64_t memory_bytes_max = 0;
  SamplingRule sampling = all_rows();  ///< what memory is counted for
};

/// Reads, validates and orders the Cases. A tier holds the ones before it and the Cases of regressions.txt, whose seeds
/// stay as they are. Throws InputError for the first that cannot be judged, naming where
/// it stands, so that nothing has begun yet. A Case named twice is kept twice in order, once otherwise.
std::vector<Case> choose_cases(const CaseChoice& choice);

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/judge/verify.h"
#include "reference/spec/case.h"

namespace ringproof {

/// What the ranks of one candidate did on its Cases of one topology.
struct ScheduleTraffic {
  std::string candidate;
  Topology topology{Schedule::kSingle};
  Outcome outcome = Outcome::kAccepted;  ///< the worst of its Cases
  std::int64_t count_cases = 0;          ///< that returned
  Tally bytes_sent, exchanges, pairs;    ///< over all ranks and Cases
  Tally memory_bytes_peak;               ///< of the rank and Case with most
  std::string longest_case;              ///< the Case that took longest, and what each rank did there
  double longest_ms = -1;
  std::vector<RankReport> ranks{};

  /// Work of the busiest rank over the mean, of the longest Case; 1 is even, 0 without work.
  double work_over_mean() const;
};

/// Takes a Case into account. Evidence without reports of ranks changes nothing.
void add(ScheduleTraffic& into, const Case& c, const Evidence& evidence);

}  // namespace ringproof

#pragma once

#include <span>
#include <string>
#include <vector>

#include "reference/spec/rank_report.h"

namespace ringproof {

/// Where ranks did not do what the formulas of their algorithm say, one sentence for each quantity, which names the
/// first rank: bytes sent, exchanges, peak of buffer memory, pairs of query and key. A candidate that states formulas
/// claims them, so this is a fault as claimed determinism is: equality of integers, no bound takes part.
std::vector<std::string> traffic_faults(std::span<const RankReport> ranks);

}  // namespace ringproof

#include "reference/judge/rank_traffic.h"

#include <utility>

namespace ringproof {

std::vector<std::string> traffic_faults(std::span<const RankReport> ranks) {
  std::vector<std::string> faults;
  const auto hold = [&](const std::string& what, Tally RankReport::*tally) {
    std::string first;
    std::size_t count = 0;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      const Tally& one = ranks[rank].*tally;
      if (one.got == one.want || count++ > 0) continue;
      first = " (the first is rank " + std::to_string(rank) + ": " + std::to_string(one.got) + ", its formula says " +
              std::to_string(one.want) + ")";
    }
    if (count == 0) return;
    faults.push_back(what + " of " + std::to_string(count) + " ranks differ from their formula" + first);
  };
  hold("bytes sent", &RankReport::bytes_sent);
  hold("exchanges", &RankReport::exchanges);
  hold("peak bytes of buffers", &RankReport::memory_bytes_peak);
  hold("pairs of query and key", &RankReport::pairs);
  return faults;
}

}  // namespace ringproof

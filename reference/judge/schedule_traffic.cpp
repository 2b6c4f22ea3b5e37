#include "reference/judge/schedule_traffic.h"

#include <algorithm>

namespace ringproof {
namespace {

void add(Tally& into, const Tally& one) {
  into.got += one.got;
  into.want += one.want;
}

}  // namespace

double ScheduleTraffic::work_over_mean() const {
  std::int64_t sum = 0, most = 0;
  for (const RankReport& rank : ranks) {
    sum += rank.pairs.got;
    most = std::max(most, rank.pairs.got);
  }
  return sum == 0 ? 0 : static_cast<double>(most) * static_cast<double>(ranks.size()) / static_cast<double>(sum);
}

void add(ScheduleTraffic& into, const Case& c, const Evidence& evidence) {
  if (evidence.status != CallStatus::kReturned || evidence.ranks.empty()) return;
  into.candidate = evidence.candidate;
  into.topology = c.problem.topology;
  into.outcome = worst(into.outcome, verify_case(evidence).outcome);
  ++into.count_cases;
  for (const RankReport& rank : evidence.ranks) {
    add(into.bytes_sent, rank.bytes_sent);
    add(into.exchanges, rank.exchanges);
    add(into.pairs, rank.pairs);
    into.memory_bytes_peak.got = std::max(into.memory_bytes_peak.got, rank.memory_bytes_peak.got);
    into.memory_bytes_peak.want = std::max(into.memory_bytes_peak.want, rank.memory_bytes_peak.want);
  }
  if (!(evidence.candidate_ms > into.longest_ms)) return;
  into.longest_ms = evidence.candidate_ms;
  into.longest_case = evidence.case_line;
  into.ranks = evidence.ranks;
}

}  // namespace ringproof

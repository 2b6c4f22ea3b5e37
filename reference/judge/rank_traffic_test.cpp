#include "reference/judge/rank_traffic.h"

#include <gtest/gtest.h>

#include "reference/judge/verify.h"

namespace ringproof {
namespace {

std::vector<RankReport> three_ranks() { return std::vector<RankReport>(3, {{100, 100}, {2, 2}, {50, 50}, {7, 7}}); }

TEST(RankTraffic, RanksThatDoWhatTheirFormulasSayHaveNoFault) {
  EXPECT_TRUE(traffic_faults(three_ranks()).empty());
  EXPECT_TRUE(traffic_faults({}).empty());
}

TEST(RankTraffic, EveryQuantityIsHeldToItsFormulaByItself) {
  const std::vector<std::pair<Tally RankReport::*, std::string>> quantities{
      {&RankReport::bytes_sent, "bytes sent"},
      {&RankReport::exchanges, "exchanges"},
      {&RankReport::memory_bytes_peak, "peak bytes of buffers"},
      {&RankReport::pairs, "pairs of query and key"}};
  for (const auto& [quantity, name] : quantities) {
    for (const std::int64_t off : {-1, 1}) {
      std::vector<RankReport> ranks = three_ranks();
      (ranks[1].*quantity).got += off;
      (ranks[2].*quantity).got += off;
      const Tally& first = ranks[1].*quantity;
      ASSERT_EQ(traffic_faults(ranks).size(), 1U) << name;
      EXPECT_EQ(traffic_faults(ranks).front(),
                name + " of 2 ranks differ from their formula (the first is rank 1: " + std::to_string(first.got) +
                    ", its formula says " + std::to_string(first.want) + ")");
    }
  }
}

TEST(RankTraffic, AFaultRejectsTheCaseAndIsNamed) {
  Evidence evidence{"ring", "case", Dtype::kF32, MaskKind::kFull, 8, CallStatus::kReturned};
  evidence.tensors = {{"out", 1}};
  EXPECT_EQ(verify_case(evidence).outcome, Outcome::kAccepted);
  std::vector<RankReport> ranks = three_ranks();
  ranks[0].bytes_sent.got = 99;
  evidence.traffic_faults = traffic_faults(ranks);
  EXPECT_EQ(verify_case(evidence).outcome, Outcome::kRejected);
  EXPECT_EQ(failing_checks(evidence), std::vector<std::string>{"traffic"});
  EXPECT_EQ(failing_reason(evidence), "traffic: bytes sent of  ranks differ from their formula");
}

}  // namespace
}  // namespace ringproof

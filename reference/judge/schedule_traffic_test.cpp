#include "reference/judge/schedule_traffic.h"

#include <gtest/gtest.h>

namespace ringproof {
namespace {

const Case kCase = parse_case("fwd/fp32/b1.hq1.hkv1.sq8.skv8.dqk8.dv8/full/scale1/gauss:1/bhsd/zigzag2");

Evidence evidence_of(double ms, std::int64_t sent, std::int64_t memory) {
  Evidence evidence{"ring", "line " + std::to_string(ms), Dtype::kF32, MaskKind::kFull, 8, CallStatus::kReturned};
  evidence.tensors = {{"out", 1}};
  evidence.candidate_ms = ms;
  evidence.ranks = {{{sent, 10}, {1, 1}, {memory, 5}, {30, 20}}, {{10, 10}, {1, 1}, {5, 5}, {10, 20}}};
  return evidence;
}

TEST(ScheduleTraffic, AddsWhatRanksSentAndKeepsTheMostOfOneRank) {
  ScheduleTraffic traffic;
  add(traffic, kCase, evidence_of(1, 10, 9));
  add(traffic, kCase, evidence_of(2, 11, 5));
  EXPECT_EQ(traffic.bytes_sent, (Tally{41, 40}));
  EXPECT_EQ(traffic.exchanges, (Tally{4, 4}));
  EXPECT_EQ(traffic.memory_bytes_peak, (Tally{9, 5}));
  EXPECT_EQ(traffic.count_cases, 2);
  EXPECT_EQ(traffic.topology, kCase.problem.topology);
  EXPECT_EQ(traffic.work_over_mean(), 1.5);
}

TEST(ScheduleTraffic, KeepsTheRanksOfTheLongestCase) {
  ScheduleTraffic traffic;
  for (const double ms : {3.0, 7.0, 5.0}) add(traffic, kCase, evidence_of(ms, static_cast<std::int64_t>(ms), 5));
  EXPECT_EQ(traffic.longest_ms, 7);
  EXPECT_EQ(traffic.ranks.front().bytes_sent.got, 7);
}

TEST(ScheduleTraffic, IsAsBadAsItsWorstCaseAndLeavesOutWhatDidNotReturn) {
  ScheduleTraffic traffic;
  Evidence rejected = evidence_of(1, 10, 9);
  rejected.traffic_faults = {"bytes sent of 1 ranks differ from their formula"};
  add(traffic, kCase, rejected);
  add(traffic, kCase, evidence_of(2, 10, 5));
  Evidence failed = evidence_of(9, 10, 5);
  failed.status = CallStatus::kFailed;
  add(traffic, kCase, failed);
  EXPECT_EQ(traffic.outcome, Outcome::kRejected);
  EXPECT_EQ(traffic.count_cases, 2);
}

}  // namespace
}  // namespace ringproof

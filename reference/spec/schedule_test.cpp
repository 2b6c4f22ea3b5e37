#include "reference/spec/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace ringproof {
namespace {

constexpr Schedule kOwning[]{Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag, Schedule::kHeadSplit,
                             Schedule::kAllGather};
constexpr int kRankCounts[]{1, 2, 3, 4, 5, 7, 8};

TEST(Schedule, RanksPartitionTheSequence) {
  for (const Schedule schedule : kOwning) {
    for (const int ranks : kRankCounts) {
      for (std::int64_t seqlen = 0; seqlen <= 40; ++seqlen) {
        const Topology topology{schedule, ranks};
        const std::vector<std::int32_t> owners = owner_of_tokens(topology, seqlen);
        std::vector<int> owned(static_cast<std::size_t>(seqlen), 0);
        ASSERT_EQ(owners.size(), owned.size());
        for (int rank = 0; rank < ranks; ++rank) {
          std::int64_t count = 0;
          for (const TokenRun& run : owned_tokens(topology, rank, seqlen)) {
            std::int64_t in_run = 0;
            for (std::int64_t token = run.begin; token < run.end; token += run.step, ++in_run) {
              ASSERT_LT(token, seqlen);
              ++owned[static_cast<std::size_t>(token)];
              ASSERT_EQ(owners[static_cast<std::size_t>(token)], rank);
            }
            ASSERT_EQ(in_run, run.count());
            count += in_run;
          }
          ASSERT_EQ(count, owned_token_count(topology, rank, seqlen));
          // Two pieces of a zigzag rank may each be one longer.
          const std::int64_t pieces = schedule == Schedule::kZigzag ? 2 : 1;
          ASSERT_LE(count, seqlen / ranks + pieces);
          ASSERT_LE(seqlen / ranks, count + pieces);
        }
        ASSERT_TRUE(std::all_of(owned.begin(), owned.end(), [](int times) { return times == 1; }))
            << to_string(topology) << " " << seqlen;
      }
    }
  }
}

TEST(Schedule, RunsAreThosePublished) {
  EXPECT_EQ(owned_tokens({Schedule::kSingle}, 0, 9), (std::vector<TokenRun>{{0, 9, 1}}));
  EXPECT_EQ(owned_tokens({Schedule::kContiguous, 3}, 1, 10), (std::vector<TokenRun>{{3, 6, 1}}));
  EXPECT_EQ(owned_tokens({Schedule::kStriped, 3}, 2, 10), (std::vector<TokenRun>{{2, 10, 3}}));
  EXPECT_EQ(owned_tokens({Schedule::kZigzag, 2}, 0, 8), (std::vector<TokenRun>{{0, 2, 1}, {6, 8, 1}}));
  EXPECT_EQ(owned_tokens({Schedule::kZigzag, 2}, 1, 8), (std::vector<TokenRun>{{2, 4, 1}, {4, 6, 1}}));
}

TEST(Schedule, AHybridSplitsTheRunsOfItsRing) {
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (const std::int64_t seqlen : {0, 5, 23, 64}) {
      const Topology hybrid{schedule, 6, 3};
      std::vector<int> owned(static_cast<std::size_t>(seqlen), 0);
      for (int rank = 0; rank < 6; ++rank) {
        const std::vector<TokenRun> runs = owned_tokens(hybrid, rank, seqlen),
                                    of_ring = owned_tokens({schedule, 2}, rank / 3, seqlen);
        ASSERT_EQ(runs.size(), of_ring.size());
        for (std::size_t run = 0; run < runs.size(); ++run) {
          EXPECT_EQ(runs[run].step, of_ring[run].step);
          EXPECT_LE(of_ring[run].begin, runs[run].begin);
          EXPECT_LE(runs[run].end, of_ring[run].end);
          // Its pieces lie behind one another.
          const TokenRun next = owned_tokens(hybrid, rank - rank % 3 + (rank + 1) % 3, seqlen)[run];
          if (rank % 3 < 2) {
            EXPECT_EQ(next.begin, runs[run].begin + runs[run].count() * runs[run].step);
          }
        }
        for (const std::int64_t token : local_tokens_of(hybrid, rank, seqlen)) ++owned[static_cast<std::size_t>(token)];
      }
      EXPECT_EQ(owned, std::vector<int>(static_cast<std::size_t>(seqlen), 1)) << to_string(hybrid) << " " << seqlen;
    }
  }
  EXPECT_EQ(owned_tokens({Schedule::kZigzag, 4, 2}, 1, 16), (std::vector<TokenRun>{{2, 4, 1}, {14, 16, 1}}));
  EXPECT_EQ(owned_tokens({Schedule::kStriped, 4, 2}, 2, 12), (std::vector<TokenRun>{{1, 7, 2}}));
}

TEST(Schedule, PartialResultsAreMadeInTheRingOfATopology) {
  EXPECT_EQ(ring_of({Schedule::kZigzag, 8, 2}), (Topology{Schedule::kZigzag, 4}));
  EXPECT_EQ(ring_of({Schedule::kStriped, 3}), (Topology{Schedule::kStriped, 3}));
  EXPECT_EQ(ring_of({Schedule::kHeadSplit, 4}), Topology{Schedule::kSingle});
  EXPECT_EQ(ring_of({Schedule::kAllGather, 4}), Topology{Schedule::kSingle});
}

TEST(Schedule, PiecesOfTheLongestSequencesDoNotOverflow) {
  const std::int64_t seqlen = (std::int64_t{1} << 61) - 1;
  const Topology topology{Schedule::kZigzag, 7};
  std::int64_t total = 0;
  for (int rank = 0; rank < 7; ++rank) total += owned_token_count(topology, rank, seqlen);
  EXPECT_EQ(total, seqlen);
  EXPECT_EQ(owned_tokens(topology, 0, seqlen)[1].end, seqlen);
}

TEST(Schedule, MergesAreCountedPerRow) {
  for (const int ranks : kRankCounts) {
    EXPECT_EQ(merges_of({Schedule::kContiguous, ranks}), ranks - 1);
    EXPECT_EQ(merges_of({Schedule::kStriped, ranks}), ranks - 1);
    EXPECT_EQ(merges_of({Schedule::kZigzag, ranks}), 2 * ranks - 1);
    EXPECT_EQ(merges_of({Schedule::kHeadSplit, ranks}), 0);
    EXPECT_EQ(merges_of({Schedule::kAllGather, ranks}), 0);
    EXPECT_EQ(merges_of({Schedule::kZigzag, 2 * ranks, 2}), 2 * ranks - 1);
  }
  EXPECT_EQ(merges_of({Schedule::kSingle}), 0);
}

TEST(Schedule, NamesSayScheduleAndRanks) {
  EXPECT_EQ(to_string(Topology{Schedule::kSingle}), "single");
  EXPECT_EQ(to_string(Topology{Schedule::kStriped, 3}), "striped3");
  EXPECT_EQ(to_string(Topology{Schedule::kHeadSplit, 4}), "head_split4");
  EXPECT_EQ(to_string(Topology{Schedule::kZigzag, 8, 2}), "hybrid2xzigzag4");
}

}  // namespace
}  // namespace ringproof

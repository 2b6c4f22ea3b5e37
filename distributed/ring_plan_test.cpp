#include "distributed/ring_plan.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

Problem problem_of(const Topology& topology, const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  Problem problem{Dtype::kF64, mask, 1, 1, 1, seqlen_q, seqlen_kv, 1, 1, 1.0};
  problem.topology = topology;
  return problem;
}

bool sees(const RingPiece& piece, std::int64_t i, std::int64_t j) {
  const KeyRange in_band = visible_keys(piece.band, i, piece.key_count);
  if (j < in_band.begin || j >= in_band.end) return false;
  if (piece.blocks.block_q == 0) return true;
  const std::int64_t tiles = (piece.key_count - 1) / piece.blocks.block_kv + 1;
  return piece.blocks.visible.at(
             static_cast<std::size_t>(i / piece.blocks.block_q * tiles + j / piece.blocks.block_kv)) != 0;
}

// How often the plan of all ranks lets each (row, key) meet, in global indices: [seqlen_q, seqlen_kv].
std::vector<int> meetings(const Problem& problem) {
  const Topology& topology = problem.topology;
  const std::int64_t seqlen_kv = problem.seqlen_kv;
  std::vector<int> met(static_cast<std::size_t>(problem.seqlen_q * seqlen_kv), 0);
  for (int rank = 0; rank < topology.rank_count; ++rank) {
    const std::vector<std::int64_t> rows = local_tokens_of(topology, rank, problem.seqlen_q);
    for (int step = 0; step < step_count(topology); ++step) {
      const RingStep now = ring_step(problem, rank, step);
      const bool holds_all = topology.schedule == Schedule::kAllGather;
      const std::vector<std::int64_t> keys =
          local_tokens_of(holds_all ? Topology{Schedule::kSingle} : topology, holds_all ? 0 : now.block, seqlen_kv);
      EXPECT_EQ(held_key_count(topology, now.block, seqlen_kv), static_cast<std::int64_t>(keys.size()));
      for (const RingPiece& piece : now.pieces) {
        for (std::int64_t i = 0; i < piece.row_count; ++i) {
          for (std::int64_t j = 0; j < piece.key_count; ++j) {
            if (!sees(piece, i, j)) continue;
            const std::int64_t row = rows.at(static_cast<std::size_t>(piece.row_begin + i));
            const std::int64_t key = keys.at(static_cast<std::size_t>(piece.key_begin + j));
            ++met.at(static_cast<std::size_t>(row * seqlen_kv + key));
          }
        }
      }
    }
  }
  return met;
}

std::vector<int> allowed(const Problem& problem) {
  const Visibility visibility(problem);
  std::vector<int> sees(static_cast<std::size_t>(problem.seqlen_q * problem.seqlen_kv), 0);
  for (std::int64_t row = 0; row < problem.seqlen_q; ++row) {
    for (std::int64_t key = 0; key < problem.seqlen_kv; ++key) {
      sees[static_cast<std::size_t>(row * problem.seqlen_kv + key)] = visibility.sees(row, key);
    }
  }
  return sees;
}

void expect_each_pair_once(const Topology& topology, const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  Problem problem = problem_of(topology, mask, seqlen_q, seqlen_kv);
  MaskTables tables;
  tables.hand_to(problem);
  ASSERT_EQ(meetings(problem), allowed(problem))
      << to_string(topology) << " " << to_string(mask) << " sq" << seqlen_q << " skv" << seqlen_kv;
}

std::vector<Topology> planned_topologies() {
  std::vector<Topology> topologies{{Schedule::kSingle}};
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (const int rank_count : {1, 2, 3, 4, 5, 7, 8}) topologies.push_back({schedule, rank_count});
  }
  for (const int rank_count : {1, 2, 5}) topologies.push_back({Schedule::kAllGather, rank_count});
  return topologies;
}

const std::vector<Mask> kMasks{{MaskKind::kFull},          {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight},
                               {MaskKind::kWindow, 0, 0},  {MaskKind::kWindow, 2, 0},  {MaskKind::kWindow, 1, 3},
                               {MaskKind::kWindow, -1, 1}, {MaskKind::kWindow, 4, -1}};

TEST(RingPlan, EveryPairTheMaskAllowsMeetsExactlyOnceAndNoOtherPairEver) {
  for (const Topology& topology : planned_topologies()) {
    for (const Mask& mask : kMasks) {
      for (std::int64_t seqlen_q = 0; seqlen_q <= 9; ++seqlen_q) {
        for (std::int64_t seqlen_kv = 0; seqlen_kv <= 9; ++seqlen_kv) {
          expect_each_pair_once(topology, mask, seqlen_q, seqlen_kv);
        }
      }
    }
  }
}

TEST(RingPlan, LongerSequencesThanRanksMeetExactlyOnceToo) {
  for (const Topology& topology : planned_topologies()) {
    for (const Mask& mask : kMasks) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{41, 41}, std::pair{23, 50}, std::pair{50, 23}}) {
        expect_each_pair_once(topology, mask, seqlen_q, seqlen_kv);
      }
    }
  }
}

Mask documents(std::vector<std::int64_t> lengths_q, std::vector<std::int64_t> lengths_kv, bool is_causal) {
  Mask mask{MaskKind::kDocument};
  mask.document_lengths_q = std::move(lengths_q);
  mask.document_lengths_kv = std::move(lengths_kv);
  mask.document_causal = is_causal;
  return mask;
}

TEST(RingPlan, DocumentsThatStraddleShardsMeetTheirOwnKeysOnly) {
  for (const Topology& topology : planned_topologies()) {
    for (const bool is_causal : {false, true}) {
      expect_each_pair_once(topology, documents({30}, {30}, is_causal), 41, 41);
      expect_each_pair_once(topology, documents({3, 0, 17, 1, 9}, {2, 4, 23, 0, 8}, is_causal), 37, 41);
      expect_each_pair_once(topology, documents({20, 20}, {5, 30}, is_causal), 41, 37);
      expect_each_pair_once(topology, documents({1, 1, 1, 1}, {1, 1, 1, 1}, is_causal), 5, 6);
    }
  }
}

TEST(RingPlan, BlocksThatStraddleShardsAreSeenByTheirTile) {
  for (const Topology& topology : planned_topologies()) {
    for (const auto& [block_q, block_kv] : {std::pair{1, 1}, std::pair{4, 6}, std::pair{5, 3}, std::pair{64, 2}}) {
      Mask mask{MaskKind::kBlockSparse};
      mask.block_q = block_q;
      mask.block_kv = block_kv;
      mask.block_share_kept = 0.5;
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{41, 41}, std::pair{23, 50}, std::pair{3, 2}}) {
        expect_each_pair_once(topology, mask, seqlen_q, seqlen_kv);
      }
    }
  }
}

TEST(RingPlan, LocalTilesAreAsLargeAsTheyCanBe) {
  Mask mask{MaskKind::kBlockSparse};
  mask.block_q = 8;
  mask.block_kv = 4;
  mask.block_share_kept = 0.5;
  Problem problem = problem_of({Schedule::kContiguous, 2}, mask, 64, 64);
  MaskTables tables;
  tables.hand_to(problem);
  const PieceBlocks aligned = ring_step(problem, 1, 0).pieces.at(0).blocks;
  EXPECT_EQ(aligned.block_q, 8);
  EXPECT_EQ(aligned.block_kv, 4);
  problem.topology = {Schedule::kStriped, 2};
  const PieceBlocks striped = ring_step(problem, 1, 0).pieces.at(0).blocks;
  EXPECT_EQ(striped.block_q, 4);
  EXPECT_EQ(striped.block_kv, 2);
}

TEST(RingPlan, EveryRankHoldsEveryBlockOnceAndItsOwnFirst) {
  for (const int rank_count : {1, 2, 3, 8}) {
    for (int rank = 0; rank < rank_count; ++rank) {
      std::vector<int> times_held(static_cast<std::size_t>(rank_count), 0);
      for (int step = 0; step < rank_count; ++step) {
        const Problem problem = problem_of({Schedule::kContiguous, rank_count}, {MaskKind::kFull}, 16, 16);
        const int block = ring_step(problem, rank, step).block;
        ++times_held.at(static_cast<std::size_t>(block));
        if (step == 0) {
          EXPECT_EQ(block, rank);
        } else {
          const int left = (rank + rank_count - 1) % rank_count;
          EXPECT_EQ(block, ring_step(problem, left, step - 1).block);
        }
      }
      EXPECT_EQ(times_held, std::vector<int>(static_cast<std::size_t>(rank_count), 1));
    }
  }
}

TEST(RingPlan, OneRankMeetsAllKeysInOnePieceUnderTheBandItself) {
  const Mask window{MaskKind::kWindow, 7, 0};  // of 13 keys and 11 rows
  const Band band{-5, 2};
  for (const Schedule schedule : {Schedule::kSingle, Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    const RingStep only = ring_step(problem_of({schedule, 1}, window, 11, 13), 0, 0);
    EXPECT_EQ(only.pieces, (std::vector<RingPiece>{{0, 11, 0, 13, band}}));
  }
}

TEST(RingPlan, PiecesWithoutAVisiblePairAreLeftOut) {
  for (const Topology& topology : planned_topologies()) {
    for (const Mask& mask : kMasks) {
      for (int rank = 0; rank < topology.rank_count; ++rank) {
        for (int step = 0; step < step_count(topology); ++step) {
          for (const RingPiece& piece : ring_step(problem_of(topology, mask, 29, 31), rank, step).pieces) {
            std::int64_t pairs = 0;
            for (std::int64_t i = 0; i < piece.row_count; ++i) {
              pairs += visible_keys(piece.band, i, piece.key_count).count();
            }
            EXPECT_LT(0, pairs) << to_string(topology) << " " << to_string(mask);
          }
        }
      }
    }
  }
}

std::int64_t pairs_of_rank(const Topology& topology, int rank, std::int64_t seqlen) {
  std::int64_t pairs = 0;
  for (int step = 0; step < topology.rank_count; ++step) {
    const Problem problem = problem_of(topology, {MaskKind::kCausalTopLeft}, seqlen, seqlen);
    for (const RingPiece& piece : ring_step(problem, rank, step).pieces) {
      for (std::int64_t i = 0; i < piece.row_count; ++i) pairs += visible_keys(piece.band, i, piece.key_count).count();
    }
  }
  return pairs;
}

// The work of the busiest rank over the mean, n = 64 P causal tokens: zigzag 1 exactly, striped within one row of keys
// of it, contiguous 2 P / (P + 1) less what the diagonal of single keys adds.
TEST(RingPlan, CausalWorkIsBalancedByZigzagAndStripes) {
  for (const int rank_count : {1, 2, 3, 4, 5, 7, 8}) {
    const std::int64_t seqlen = 64 * rank_count, mean_twice = seqlen * (seqlen + 1) / rank_count;
    for (int rank = 0; rank < rank_count; ++rank) {
      EXPECT_EQ(2 * pairs_of_rank({Schedule::kZigzag, rank_count}, rank, seqlen), mean_twice);
      const std::int64_t of_stripes = 2 * pairs_of_rank({Schedule::kStriped, rank_count}, rank, seqlen);
      EXPECT_LE(std::abs(of_stripes - mean_twice), 2 * 64 * rank_count);  // a key more or less per row of 64 P
      // Rank r of a contiguous ring meets r whole blocks and half of its own.
      EXPECT_EQ(pairs_of_rank({Schedule::kContiguous, rank_count}, rank, seqlen), 64 * 64 * rank + 64 * 65 / 2);
    }
  }
}

TEST(RingPlan, UnboundedSidesStayUnboundedAfterAShift) {
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (int step = 0; step < 4; ++step) {
      for (const RingPiece& piece : ring_step(problem_of({schedule, 4}, {MaskKind::kFull}, 40, 40), 3, step).pieces) {
        EXPECT_EQ(piece.band, (Band{-kUnbounded, kUnbounded}));
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

#include "distributed/ring_plan.h"

#include <gtest/gtest.h>

namespace ringproof {
namespace {

// How often the plan of all ranks lets each (row, key) meet, in global indices: [seqlen_q, seqlen_kv].
std::vector<int> meetings(const Topology& topology, const Band& band, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  std::vector<int> met(static_cast<std::size_t>(seqlen_q * seqlen_kv), 0);
  for (int rank = 0; rank < topology.rank_count; ++rank) {
    const std::vector<std::int64_t> rows = local_tokens_of(topology, rank, seqlen_q);
    for (int step = 0; step < topology.rank_count; ++step) {
      const RingStep now = ring_step(topology, rank, step, band, seqlen_q, seqlen_kv);
      const std::vector<std::int64_t> keys = local_tokens_of(topology, now.block, seqlen_kv);
      for (const RingPiece& piece : now.pieces) {
        for (std::int64_t i = 0; i < piece.row_count; ++i) {
          const KeyRange seen = visible_keys(piece.band, i, piece.key_count);
          for (std::int64_t j = seen.begin; j < seen.end; ++j) {
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

std::vector<int> allowed(const Band& band, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  std::vector<int> sees(static_cast<std::size_t>(seqlen_q * seqlen_kv), 0);
  for (std::int64_t row = 0; row < seqlen_q; ++row) {
    for (std::int64_t key = 0; key < seqlen_kv; ++key) {
      sees[static_cast<std::size_t>(row * seqlen_kv + key)] = row + band.lo <= key && key <= row + band.hi;
    }
  }
  return sees;
}

std::vector<Topology> ring_topologies() {
  std::vector<Topology> topologies{{Schedule::kSingle}};
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (const int rank_count : {1, 2, 3, 4, 5, 7, 8}) topologies.push_back({schedule, rank_count});
  }
  return topologies;
}

const std::vector<Mask> kMasks{{MaskKind::kFull},          {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight},
                               {MaskKind::kWindow, 0, 0},  {MaskKind::kWindow, 2, 0},  {MaskKind::kWindow, 1, 3},
                               {MaskKind::kWindow, -1, 1}, {MaskKind::kWindow, 4, -1}};

TEST(RingPlan, EveryPairTheMaskAllowsMeetsExactlyOnceAndNoOtherPairEver) {
  for (const Topology& topology : ring_topologies()) {
    for (const Mask& mask : kMasks) {
      for (std::int64_t seqlen_q = 0; seqlen_q <= 9; ++seqlen_q) {
        for (std::int64_t seqlen_kv = 0; seqlen_kv <= 9; ++seqlen_kv) {
          const Band band = band_of(mask, seqlen_q, seqlen_kv);
          ASSERT_EQ(meetings(topology, band, seqlen_q, seqlen_kv), allowed(band, seqlen_q, seqlen_kv))
              << to_string(topology) << " " << to_string(mask) << " sq" << seqlen_q << " skv" << seqlen_kv;
        }
      }
    }
  }
}

TEST(RingPlan, LongerSequencesThanRanksMeetExactlyOnceToo) {
  for (const Topology& topology : ring_topologies()) {
    for (const Mask& mask : kMasks) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{41, 41}, std::pair{23, 50}, std::pair{50, 23}}) {
        const Band band = band_of(mask, seqlen_q, seqlen_kv);
        ASSERT_EQ(meetings(topology, band, seqlen_q, seqlen_kv), allowed(band, seqlen_q, seqlen_kv))
            << to_string(topology) << " " << to_string(mask) << " sq" << seqlen_q << " skv" << seqlen_kv;
      }
    }
  }
}

TEST(RingPlan, EveryRankHoldsEveryBlockOnceAndItsOwnFirst) {
  for (const int rank_count : {1, 2, 3, 8}) {
    for (int rank = 0; rank < rank_count; ++rank) {
      std::vector<int> times_held(static_cast<std::size_t>(rank_count), 0);
      for (int step = 0; step < rank_count; ++step) {
        const Topology topology{Schedule::kContiguous, rank_count};
        const int block = ring_step(topology, rank, step, {-kUnbounded, kUnbounded}, 16, 16).block;
        ++times_held.at(static_cast<std::size_t>(block));
        if (step == 0) {
          EXPECT_EQ(block, rank);
        } else {
          const int left = (rank + rank_count - 1) % rank_count;
          EXPECT_EQ(block, ring_step(topology, left, step - 1, {-kUnbounded, kUnbounded}, 16, 16).block);
        }
      }
      EXPECT_EQ(times_held, std::vector<int>(static_cast<std::size_t>(rank_count), 1));
    }
  }
}

TEST(RingPlan, OneRankMeetsAllKeysInOnePieceUnderTheBandItself) {
  const Band band{-5, 2};
  for (const Schedule schedule : {Schedule::kSingle, Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    const RingStep only = ring_step({schedule, 1}, 0, 0, band, 11, 13);
    EXPECT_EQ(only.pieces, (std::vector<RingPiece>{{0, 11, 0, 13, band}}));
  }
}

TEST(RingPlan, PiecesWithoutAVisiblePairAreLeftOut) {
  for (const Topology& topology : ring_topologies()) {
    for (const Mask& mask : kMasks) {
      const Band band = band_of(mask, 29, 31);
      for (int rank = 0; rank < topology.rank_count; ++rank) {
        for (int step = 0; step < topology.rank_count; ++step) {
          for (const RingPiece& piece : ring_step(topology, rank, step, band, 29, 31).pieces) {
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

TEST(RingPlan, CausalZigzagMeetsAsManyPairsOnEveryRank) {
  const Topology topology{Schedule::kZigzag, 4};
  for (int rank = 0; rank < 4; ++rank) {
    std::int64_t pairs = 0;
    for (int step = 0; step < 4; ++step) {
      for (const RingPiece& piece : ring_step(topology, rank, step, {-kUnbounded, 0}, 64, 64).pieces) {
        for (std::int64_t i = 0; i < piece.row_count; ++i)
          pairs += visible_keys(piece.band, i, piece.key_count).count();
      }
    }
    EXPECT_EQ(pairs, 64 * 65 / 2 / 4);
  }
}

TEST(RingPlan, UnboundedSidesStayUnboundedAfterAShift) {
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (int step = 0; step < 4; ++step) {
      for (const RingPiece& piece : ring_step({schedule, 4}, 3, step, {-kUnbounded, kUnbounded}, 40, 40).pieces) {
        EXPECT_EQ(piece.band, (Band{-kUnbounded, kUnbounded}));
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

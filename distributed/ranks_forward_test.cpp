// Attention over ranks by every algorithm, schedule, rank count and mask, against answers known exactly: each row is
// made to choose one of the keys it sees, or all keys weigh the same.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "distributed/candidates.h"
#include "distributed/ranks_answer_test.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kPeak = 16384;  // exp(-kPeak) is 0 in every format: one key takes all of the mass, exactly

Mask documents(std::vector<std::int64_t> lengths_q, std::vector<std::int64_t> lengths_kv, bool is_causal) {
  Mask mask{MaskKind::kDocument};
  mask.document_lengths_q = std::move(lengths_q);
  mask.document_lengths_kv = std::move(lengths_kv);
  mask.document_causal = is_causal;
  return mask;
}

Mask blocks(std::int64_t block_q, std::int64_t block_kv) {
  Mask mask{MaskKind::kBlockSparse};
  mask.block_q = block_q;
  mask.block_kv = block_kv;
  mask.block_share_kept = 0.5;
  mask.block_seed = 3;
  return mask;
}

const std::vector<Mask> kBands{
    {MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}, {MaskKind::kWindow, 2, 1}};
const std::vector<int> kRankCounts{1, 2, 3, 4, 5, 7, 8};

std::vector<Topology> all_topologies(const std::vector<int>& rank_counts) {
  std::vector<Topology> all = ring_topologies(rank_counts);
  for (const Topology& topology : gathering_topologies(rank_counts)) all.push_back(topology);
  return all;
}

Problem problem_of(Dtype dtype, const Mask& mask, std::int64_t heads_q, std::int64_t heads_kv, std::int64_t seqlen_q,
                   std::int64_t seqlen_kv, std::int64_t head_dim_qk, std::int64_t head_dim_v) {
  return {dtype, mask, 2, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v, 1.0};
}

double value_of(std::int64_t b, std::int64_t head, std::int64_t key, std::int64_t column) {
  return static_cast<double>(1 + key + 32 * column + 128 * head + 512 * b);
}

// The key a row is made to choose, out of those it sees: first, last or in between; -1 where it sees none.
std::int64_t chosen_key(const Visibility& visibility, std::int64_t row) {
  std::vector<std::int64_t> seen;
  for (const KeyRange& range : visibility.ranges(row)) {
    for (std::int64_t key = range.begin; key < range.end; ++key) seen.push_back(key);
  }
  if (seen.empty()) return -1;
  return row % 3 == 0   ? seen.front()
         : row % 3 == 1 ? seen.back()
                        : seen[static_cast<std::size_t>(row) * 7 % seen.size()];
}

void expect_every_row_gets_its_key(Problem problem, const Topology& topology) {
  problem.topology = topology;
  problem.head_dim_qk = std::max<std::int64_t>(problem.seqlen_kv, 1);
  problem.head_dim_v = 2;
  const Dtype dtype = problem.dtype;
  const Visibility visibility(problem);
  const Tensor q(dtype, problem.shape_q()), k(dtype, problem.shape_k()), v(dtype, problem.shape_v());
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h = 0; h < problem.heads_q; ++h) {
      for (std::int64_t row = 0; row < problem.seqlen_q; ++row) {
        const std::int64_t key = chosen_key(visibility, row);
        if (key >= 0) q.view().store(b, h, row, key, kPeak);
      }
      for (std::int64_t key = 0; key < problem.seqlen_kv && h < problem.heads_kv; ++key) {
        k.view().store(b, h, key, key, 1);
        for (std::int64_t c = 0; c < 2; ++c) v.view().store(b, h, key, c, value_of(b, h, key, c));
      }
    }
  }
  const Answer got = ranks_answer(problem, double_step(), q.view(), k.view(), v.view());
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h = 0; h < problem.heads_q; ++h) {
      for (std::int64_t row = 0; row < problem.seqlen_q; ++row) {
        const std::int64_t key = chosen_key(visibility, row);
        const std::string place = to_string(topology) + " " + to_string(problem.mask) + " sq" +
                                  std::to_string(problem.seqlen_q) + " skv" + std::to_string(problem.seqlen_kv) +
                                  " head " + std::to_string(h) + " row " + std::to_string(row);
        for (std::int64_t c = 0; c < 2; ++c) {
          const double want = key < 0 ? 0 : value_of(b, h / problem.heads_per_group(), key, c);
          ASSERT_EQ(got.out.view().load(b, h, row, c), want) << place;
        }
        ASSERT_EQ(got.lse.view().load(b, h, row, 0), key < 0 ? -kInfinity : kPeak) << place;
      }
    }
  }
}

void expect_every_row_gets_its_key(Dtype dtype, const Mask& mask, const Topology& topology, std::int64_t seqlen_q,
                                   std::int64_t seqlen_kv) {
  expect_every_row_gets_its_key(problem_of(dtype, mask, 4, 2, seqlen_q, seqlen_kv, 1, 1), topology);
}

TEST(AttentionOverRanks, EveryRowGetsTheValueOfTheOneKeyItChooses) {
  for (const Topology& topology : all_topologies(kRankCounts)) {
    for (const Mask& mask : kBands) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{19, 19}, std::pair{7, 18}, std::pair{18, 7}}) {
        expect_every_row_gets_its_key(Dtype::kF64, mask, topology, seqlen_q, seqlen_kv);
      }
    }
  }
}

TEST(AttentionOverRanks, DocumentsMayStraddleShards) {
  for (const Topology& topology : all_topologies(kRankCounts)) {
    for (const bool is_causal : {false, true}) {
      const Mask straddling = documents({3, 0, 11, 1, 2}, {2, 4, 12, 0, 1}, is_causal);
      expect_every_row_gets_its_key(Dtype::kF64, straddling, topology, 19, 23);
      expect_every_row_gets_its_key(Dtype::kF64, documents({12}, {13}, is_causal), topology, 14, 13);
    }
  }
}

TEST(AttentionOverRanks, BlocksMayStraddleShards) {
  for (const Topology& topology : all_topologies(kRankCounts)) {
    for (const Mask& mask : {blocks(1, 1), blocks(4, 3), blocks(3, 8)}) {
      expect_every_row_gets_its_key(Dtype::kF64, mask, topology, 19, 23);
    }
  }
}

TEST(AttentionOverRanks, ShardsWithoutQueriesOrKeysTakePart) {
  std::vector<Mask> masks = kBands;
  masks.push_back(documents({1}, {1}, true));
  for (const Topology& topology : all_topologies({1, 3, 4})) {
    for (const Mask& mask : masks) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{2, 2}, std::pair{1, 9}, std::pair{9, 1}}) {
        expect_every_row_gets_its_key(Dtype::kF64, mask, topology, seqlen_q, seqlen_kv);
      }
    }
    for (const auto& [seqlen_q, seqlen_kv] : {std::pair{0, 0}, std::pair{0, 6}, std::pair{6, 0}}) {
      for (const Mask& mask : kBands) expect_every_row_gets_its_key(Dtype::kF64, mask, topology, seqlen_q, seqlen_kv);
    }
  }
}

TEST(AttentionOverRanks, NarrowStorageTravelsUnchanged) {
  for (const Topology& topology : all_topologies({2, 3, 4})) {
    expect_every_row_gets_its_key(Dtype::kF16, {MaskKind::kFull}, topology, 13, 15);
    expect_every_row_gets_its_key(Dtype::kF32, {MaskKind::kCausalBottomRight}, topology, 13, 15);
  }
}

// Groups cut unevenly, fewer heads than ranks, one kv head for all, a head each.
TEST(AttentionOverRanks, AnyCountOfHeadsIsSplit) {
  for (const Topology& topology : gathering_topologies({2, 3, 4, 5, 8})) {
    for (const auto& [heads_q, heads_kv] : {std::pair{1, 1}, std::pair{3, 1}, std::pair{6, 2}, std::pair{9, 3},
                                            std::pair{5, 5}, std::pair{8, 8}, std::pair{14, 2}}) {
      expect_every_row_gets_its_key(
          problem_of(Dtype::kF64, {MaskKind::kCausalBottomRight}, heads_q, heads_kv, 13, 15, 1, 1), topology);
    }
  }
}

// Q = 0: every visible key weighs the same, so exp(lse) is their count, which rounding to an integer recovers.
TEST(AttentionOverRanks, EveryRowCountsEachOfItsKeysOnce) {
  std::vector<Mask> masks = kBands;
  masks.push_back(documents({5, 13}, {19, 10}, true));
  masks.push_back(blocks(4, 3));
  for (const Topology& topology : all_topologies({2, 3, 4, 8})) {
    for (const Mask& mask : masks) {
      Problem problem = problem_of(Dtype::kF64, mask, 4, 2, 23, 29, 1, 1);
      problem.topology = topology;
      const Visibility visibility(problem);
      const Tensor q(Dtype::kF64, problem.shape_q()), k(Dtype::kF64, problem.shape_k()),
          v(Dtype::kF64, problem.shape_v());
      const Answer got = ranks_answer(problem, double_step(), q.view(), k.view(), v.view());
      for (std::int64_t row = 0; row < 23; ++row) {
        EXPECT_EQ(std::lround(std::exp(got.lse.view().load(1, 3, row, 0))), visibility.count(row))
            << to_string(topology) << " " << to_string(mask);
      }
    }
  }
}

// A sink of head h that weighs as 7 + 5 h keys: exp(lse) counts the keys and it, and with V = 1 O is their share.
TEST(AttentionOverRanks, EveryRowCountsTheSinkOfItsHeadOnce) {
  std::vector<Mask> masks = kBands;
  masks.push_back(documents({5, 11}, {19, 10}, true));
  masks.push_back(blocks(4, 3));
  std::vector<float> sink;
  for (int h = 0; h < 6; ++h) sink.push_back(std::log(7.0f + 5.0f * static_cast<float>(h)));
  for (const Topology& topology : all_topologies(kRankCounts)) {
    for (const Mask& mask : masks) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{23, 29}, std::pair{29, 3}}) {
        if (mask.kind == MaskKind::kDocument && seqlen_kv < 29) continue;
        Problem problem = problem_of(Dtype::kF64, mask, 6, 2, seqlen_q, seqlen_kv, 1, 1);
        problem.topology = topology;
        problem.has_sink = true;
        problem.sink = sink.data();
        const Visibility visibility(problem);
        const Tensor q(Dtype::kF64, problem.shape_q()), k(Dtype::kF64, problem.shape_k()),
            v(Dtype::kF64, problem.shape_v());
        for (std::int64_t key = 0; key < seqlen_kv; ++key) {
          for (const std::int64_t h : {0, 1}) v.view().store(1, h, key, 0, 1);
        }
        const Answer got = ranks_answer(problem, double_step(), q.view(), k.view(), v.view());
        for (std::int64_t h = 0; h < 6; ++h) {
          for (std::int64_t row = 0; row < seqlen_q; ++row) {
            const std::string place =
                to_string(topology) + " " + to_string(mask) + " h" + std::to_string(h) + " row" + std::to_string(row);
            const std::int64_t keys = visibility.count(row), all = keys + 7 + 5 * h;
            ASSERT_EQ(std::lround(std::exp(got.lse.view().load(1, h, row, 0))), all) << place;
            ASSERT_EQ(std::lround(got.out.view().load(1, h, row, 0) * static_cast<double>(all)), keys) << place;
          }
        }
      }
    }
  }
}

// One local step sees all keys of a row: the bits of one device, whatever the ranks.
TEST(AttentionOverRanks, HeadSplitAndAllGatherGiveTheBitsOfOneDevice) {
  for (const Mask& mask : kBands) {
    Problem problem = problem_of(Dtype::kF32, mask, 6, 2, 21, 26, 8, 6);
    problem.has_sink = true;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 3}, {});
    problem = with_data(problem, inputs);
    const auto answer = [&] {
      return ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view());
    };
    const Answer want = answer();
    for (const Schedule schedule : {Schedule::kHeadSplit, Schedule::kAllGather}) {
      for (const int rank_count : kRankCounts) {
        problem.topology = {schedule, rank_count};
        const Answer got = answer();
        EXPECT_EQ(got.out.bytes(), want.out.bytes()) << to_string(problem.topology) << " " << to_string(mask);
        EXPECT_EQ(got.lse.bytes(), want.lse.bytes()) << to_string(problem.topology) << " " << to_string(mask);
      }
    }
    problem.topology = {Schedule::kSingle};
  }
}

}  // namespace
}  // namespace ringproof

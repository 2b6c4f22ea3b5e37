// What a rank sends and the memory it takes, against the formulas, which are written here anew from the sizes alone:
// s = batch heads_kv (d_qk + d_v) bytes per token of K and V.

#include <gtest/gtest.h>

#include <algorithm>

#include "distributed/candidates.h"
#include "distributed/ranks_answer_test.h"
#include "distributed/traffic.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

using Count = std::int64_t;

struct Sizes {
  Problem problem;
  Count storage = static_cast<Count>(size_bytes(problem.dtype)), lse = problem.dtype == Dtype::kF64 ? 8 : 4;
  Count partial = 8;  // ring:double

  Count keys(const Topology& topology, int rank) const { return owned_token_count(topology, rank, problem.seqlen_kv); }
  Count rows(const Topology& topology, int rank) const { return owned_token_count(topology, rank, problem.seqlen_q); }
  Count key_bytes(Count tokens, Count heads_kv) const {
    return tokens * problem.batch * heads_kv * (problem.head_dim_qk + problem.head_dim_v) * storage;
  }
  Count query_bytes(Count tokens, Count heads_q) const {
    return tokens * problem.batch * heads_q * problem.head_dim_qk * storage;
  }
  Count answer_bytes(Count tokens, Count heads_q) const {
    return tokens * problem.batch * heads_q * (problem.head_dim_v * storage + lse);
  }
  // O and lse of all rows, running, and those of one piece.
  Count partials(Count tokens, Count heads_q) const {
    return 2 * tokens * problem.batch * heads_q * (problem.head_dim_v + 1) * partial;
  }
};

Problem uneven_problem(Dtype dtype, Count heads_q, Count heads_kv) {
  return {dtype, {MaskKind::kCausalTopLeft}, 2, heads_q, heads_kv, 21, 26, 3, 5, 1.0};
}

std::vector<RankRecord> records_of(const Problem& problem) {
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
  std::vector<RankRecord> records;
  ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
  return records;
}

// Calls check(problem, rank, record) for every rank of the topology, in two storage dtypes.
template <class Check>
void for_each_rank(const Topology& topology, Count heads_q, Count heads_kv, const Check& check) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kBf16}) {
    Problem problem = uneven_problem(dtype, heads_q, heads_kv);
    problem.topology = topology;
    const std::vector<RankRecord> records = records_of(problem);
    for (int rank = 0; rank < topology.rank_count; ++rank) {
      SCOPED_TRACE(to_string(topology) + " rank " + std::to_string(rank));
      check(Sizes{problem}, rank, records[static_cast<std::size_t>(rank)]);
    }
  }
}

const std::vector<int> kRankCounts{1, 2, 3, 4, 5, 7, 8};

Count ring_memory(const Sizes& sizes, const Topology& ring, int rank, Count heads_q, Count heads_kv) {
  Count largest = 0;
  for (int of = 0; of < ring.rank_count; ++of) largest = std::max(largest, sizes.keys(ring, of));
  const Count blocks = ring.rank_count == 1 ? 0 : 2 * sizes.key_bytes(largest, heads_kv);
  return blocks + sizes.partials(sizes.rows(ring, rank), heads_q);
}

TEST(Traffic, ARingSendsAllBlocksButThatOfItsRightNeighbourAndHoldsTwo) {
  for (const Topology& topology : ring_topologies(kRankCounts)) {
    for_each_rank(topology, 4, 2, [&](const Sizes& sizes, int rank, const RankRecord& record) {
      const int right = (rank + 1) % topology.rank_count;
      EXPECT_EQ(record.bytes_sent(), sizes.key_bytes(26 - sizes.keys(topology, right), 2));
      EXPECT_EQ(record.exchanges(), topology.rank_count - 1);
      EXPECT_EQ(record.memory_bytes_peak, ring_memory(sizes, topology, rank, 4, 2));
    });
  }
}

TEST(Traffic, AnAllGatherSendsItsBlockToAllOthersAndHoldsEveryBlock) {
  for (const int rank_count : kRankCounts) {
    const Topology topology{Schedule::kAllGather, rank_count};
    for_each_rank(topology, 4, 2, [&](const Sizes& sizes, int rank, const RankRecord& record) {
      EXPECT_EQ(record.bytes_sent(), sizes.key_bytes(sizes.keys(topology, rank), 2) * (rank_count - 1));
      EXPECT_EQ(record.exchanges(), 1);
      EXPECT_EQ(record.memory_bytes_peak, sizes.key_bytes(26, 2) + sizes.partials(sizes.rows(topology, rank), 4));
    });
  }
}

// Heads are dealt out as floor(u H / U), kv heads follow their query heads.
struct Share {
  Count heads_q, heads_kv;
};
Share share_of(Count heads_q, Count heads_kv, int members, int member) {
  const Count begin = heads_q * member / members, end = heads_q * (member + 1) / members;
  const Count group = heads_q / heads_kv;
  return {end - begin, begin == end ? 0 : (end - 1) / group - begin / group + 1};
}

void expect_head_split_traffic(const Topology& topology, Count heads_q, Count heads_kv) {
  const int members = topology.schedule == Schedule::kHeadSplit ? topology.rank_count : topology.head_split_ranks;
  const Topology ring = ring_of(topology);
  for_each_rank(topology, heads_q, heads_kv, [&](const Sizes& sizes, int rank, const RankRecord& record) {
    const Count rows = sizes.rows(topology, rank), keys = sizes.keys(topology, rank);
    const int first = rank - rank % members;
    const Share own = share_of(heads_q, heads_kv, members, rank % members);
    Count sent = 0, packed = 0, arrived = 0;
    for (int member = 0; member < members; ++member) {
      if (first + member == rank) continue;
      const Share theirs = share_of(heads_q, heads_kv, members, member);
      packed += sizes.query_bytes(rows, theirs.heads_q) + sizes.key_bytes(keys, theirs.heads_kv);
      sent += sizes.answer_bytes(sizes.rows(topology, first + member), own.heads_q);
      arrived += sizes.answer_bytes(rows, theirs.heads_q);
    }
    const int ring_rank = rank / members, right = (ring_rank + 1) % ring.rank_count;
    // One ring per part where groups are cut unevenly; the parts' kv heads add up to the share's.
    const Count in_ring = sizes.key_bytes(26 - sizes.keys(ring, right), own.heads_kv);
    EXPECT_EQ(record.bytes_sent(), packed + sent + in_ring);

    const Count group = heads_q / heads_kv, begin = heads_q * (rank % members) / members;
    const bool is_even = own.heads_kv <= 1 || (begin % group == 0 && own.heads_q % group == 0);
    if (!is_even) return;
    const Count all_rows = sizes.rows(ring, ring_rank), all_keys = sizes.keys(ring, ring_rank);
    const Count gathered = sizes.query_bytes(all_rows, own.heads_q) + sizes.key_bytes(all_keys, own.heads_kv);
    const Count answered = sizes.answer_bytes(all_rows, own.heads_q);
    const Count computing = own.heads_q == 0 ? 0 : ring_memory(sizes, ring, ring_rank, own.heads_q, own.heads_kv);
    EXPECT_EQ(record.memory_bytes_peak,
              std::max({gathered + packed, gathered + answered + computing, answered + arrived}));
    if (own.heads_q > 0) {
      EXPECT_EQ(record.exchanges(), 2 + ring.rank_count - 1);
    }
  });
}

TEST(Traffic, AHeadSplitExchangesTokensForHeadsAndBack) {
  for (const auto& [heads_q, heads_kv] : {std::pair{8, 8}, std::pair{8, 2}, std::pair{6, 2}, std::pair{3, 1}}) {
    for (const Topology& topology : gathering_topologies(kRankCounts)) {
      if (topology.schedule != Schedule::kAllGather) expect_head_split_traffic(topology, heads_q, heads_kv);
    }
  }
}

// distributed.md: (P - 1) / P^2 n (heads_q + heads_kv) (d_qk + d_v) b batch, and lse, where all divides.
TEST(Traffic, AnEvenHeadSplitSendsWhatThePublishedFormulaSays) {
  for (const int rank_count : {2, 4, 8}) {
    Problem problem{Dtype::kF32, {MaskKind::kFull}, 2, 16, 8, 32, 32, 4, 4, 1.0};
    problem.topology = {Schedule::kHeadSplit, rank_count};
    const Count elements = Count{rank_count - 1} * 32 * (16 + 8) * (4 + 4) * 2 / (rank_count * rank_count);
    const Count of_lse = Count{rank_count - 1} * 32 * 16 * 2 / (rank_count * rank_count);
    for (const RankRecord& record : records_of(problem)) EXPECT_EQ(record.bytes_sent(), 4 * (elements + of_lse));
  }
}

std::vector<Mask> masks_of_every_kind() {
  Mask window{MaskKind::kWindow}, documents{MaskKind::kDocument}, blocks{MaskKind::kBlockSparse};
  window.window_left = 3;
  window.window_right = 1;
  documents.document_lengths_q = {9, 0, 12};
  documents.document_lengths_kv = {11, 4, 8};
  documents.document_causal = true;
  blocks.block_q = 4;
  blocks.block_kv = 8;
  blocks.block_share_kept = 0.5;
  return {{MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}, window, documents, blocks};
}

// What candidates tell of themselves: every schedule, every mask, heads that cut groups unevenly.
TEST(Traffic, EveryRankReportsWhatItsFormulaSays) {
  std::vector<Topology> topologies = ring_topologies(kRankCounts);
  for (const Topology& topology : gathering_topologies(kRankCounts)) topologies.push_back(topology);
  const Candidate candidate = distributed_candidates().front();
  for (const auto& [heads_q, heads_kv] : {std::pair{8, 2}, std::pair{6, 2}, std::pair{3, 1}}) {
    for (const Topology& topology : topologies) {
      if (topology.rank_count == 1) continue;
      const std::vector<Mask> masks = masks_of_every_kind();
      const auto& mask = masks[static_cast<std::size_t>(topology.rank_count + heads_q) % masks.size()];
      Problem problem = uneven_problem(Dtype::kBf16, heads_q, heads_kv);
      problem.mask = mask;
      problem.topology = topology;
      const std::string where = to_string(topology) + " " + to_string(mask);
      MaskTables tables;
      tables.hand_to(problem);
      const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
      candidate.on_ranks(topology, [&](int rank, const Forward& forward) {
        Problem mine = problem;
        mine.rank = rank;
        const auto shard = [&](const Tensor& whole) { return shard_of(whole.view(), topology, rank); };
        const Tensor q = shard(inputs.q), k = shard(inputs.k), v = shard(inputs.v);
        const Tensor out(Dtype::kBf16, {2, heads_q, q.shape()[2], 5});
        EXPECT_EQ(forward(mine, q.view(), k.view(), v.view(), out.view(), nullptr, nullptr), Status::kOk);
      });
      Count pairs = 0;
      for (const RankReport& report : candidate.rank_reports()) {
        EXPECT_EQ(report.bytes_sent.got, report.bytes_sent.want) << where;
        EXPECT_EQ(report.exchanges.got, report.exchanges.want) << where;
        EXPECT_EQ(report.memory_bytes_peak.got, report.memory_bytes_peak.want) << where;
        EXPECT_EQ(report.pairs.got, report.pairs.want) << where;
        EXPECT_FALSE(report.steps.empty()) << where;
        pairs += report.pairs.got;
      }
      Count visible = 0;
      for (Count row = 0; row < problem.seqlen_q; ++row) visible += Visibility(problem).count(row);
      EXPECT_EQ(pairs, visible * problem.batch * problem.heads_q) << where;
    }
  }
}

// What a rank was seen to compute.
struct Work {
  Count pairs = 0;  // that see each other
  Count tiles = 0;  // pairs of all local steps, hidden ones too: the work of a kernel that skips whole blocks only
};

// Of one call over a causal square of n tokens, by rank. Ranks are threads, which call their local steps.
std::vector<Work> work_of(const Topology& topology, Count n) {
  static thread_local Count tiles;
  RingComposition composition = ring_compositions().front();
  const auto run = composition.local_step.run;
  composition.local_step.run = [run](const LocalProblem& local, const TensorView& q, const TensorView& k,
                                     const TensorView& v, const TensorView& out, const TensorView& lse, void* stream) {
    tiles += local.seqlen_q * local.seqlen_kv;
    run(local, q, k, v, out, lse, stream);
  };
  const Candidate candidate = ring_candidate(composition);
  Problem problem{Dtype::kF32, {MaskKind::kCausalTopLeft}, 1, 1, 1, n, n, 1, 1, 1.0};
  problem.topology = topology;
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
  std::vector<Work> work(static_cast<std::size_t>(topology.rank_count));
  candidate.on_ranks(topology, [&](int rank, const Forward& forward) {
    Problem mine = problem;
    mine.rank = rank;
    const auto shard = [&](const Tensor& whole) { return shard_of(whole.view(), topology, rank); };
    const Tensor q = shard(inputs.q), k = shard(inputs.k), v = shard(inputs.v);
    const Tensor out(Dtype::kF32, q.shape());
    tiles = 0;
    EXPECT_EQ(forward(mine, q.view(), k.view(), v.view(), out.view(), nullptr, nullptr), Status::kOk);
    work[static_cast<std::size_t>(rank)].tiles = tiles;
  });
  const std::vector<RankReport> reports = candidate.rank_reports();
  for (std::size_t rank = 0; rank < work.size(); ++rank) work[rank].pairs = reports[rank].pairs.got;
  return work;
}

// Of equal: one row of n keys, which is less than a tile of a rank's rows and a block's keys from n = P^2 on. A rank of
// a striped ring has P - 1 pairs less per round of rows than the last, and one row more where they do not divide;
// zigzag is even where 2 P divides n.
TEST(Traffic, MeasuredWorkOfZigzagAndStripedIsWithinOneRowOfEqual) {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const Count n : {1, 5, 16, 37, 64, 97, 112}) {
      for (const Schedule schedule : {Schedule::kZigzag, Schedule::kStriped}) {
        SCOPED_TRACE(to_string(Topology{schedule, ranks}) + " of " + std::to_string(n));
        Count sum = 0, least = n * n, most = 0;
        for (const Work& work : work_of({schedule, ranks}, n)) {
          sum += work.pairs;
          least = std::min(least, work.pairs);
          most = std::max(most, work.pairs);
        }
        EXPECT_EQ(sum, n * (n + 1) / 2);
        EXPECT_LE(most - least, schedule == Schedule::kZigzag && n % (2 * ranks) == 0 ? 0 : n);
      }
    }
  }
}

// A contiguous ring ends with its last rank. In tiles as large as a block, rank r computes its own and all before it,
// so that where P divides n the mean is (P + 1) / 2 P of the most.
TEST(Traffic, MeasuredWorkOfAContiguousRingIsThatOfItsLastRank) {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const Count n : {1, 5, 16, 37, 64, 97, 112, 120}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, " + std::to_string(n));
      const std::vector<Work> work = work_of({Schedule::kContiguous, ranks}, n);
      Count sum = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Work& one = work[static_cast<std::size_t>(rank)];
        const Count begin = n * rank / ranks, end = n * (rank + 1) / ranks, own = end - begin;
        EXPECT_EQ(one.tiles, own * end) << rank;
        EXPECT_EQ(one.pairs, own * begin + own * (own + 1) / 2) << rank;
        sum += one.tiles;
      }
      if (n % ranks == 0) {
        EXPECT_EQ(2 * sum, (ranks + 1) * work.back().tiles);
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

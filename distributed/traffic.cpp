// The formulas speak of sizes and of who owns what, and use nothing of the algorithms. Where a head split cuts groups
// unevenly, a rank runs a ring for each of its kv heads, one after another: sent bytes add up, memory is the largest.

#include "distributed/traffic.h"

#include <algorithm>

#include "distributed/head_split_plan.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

using Count = std::int64_t;

// Bytes per token of `heads` heads.
struct TokenBytes {
  const Problem& p;
  Count partial;
  Count of(Count heads, Count head_dim, Dtype dtype) const {
    return p.batch * heads * head_dim * static_cast<Count>(size_bytes(dtype));
  }
  Count query(Count heads) const { return of(heads, p.head_dim_qk, p.dtype); }
  Count keys(Count heads_kv) const { return of(heads_kv, p.head_dim_qk + p.head_dim_v, p.dtype); }
  Count answer(Count heads) const {
    return of(heads, p.head_dim_v, dtype_of_out(p.dtype)) + of(heads, 1, dtype_of_lse(p.dtype));
  }
  Count partials(Count heads) const { return 2 * p.batch * heads * (p.head_dim_v + 1) * partial; }
};

// A ring over `topology` of `heads_q` and `heads_kv` heads, as rank `rank` of it sees it.
struct RingTraffic {
  Count sent, exchanges, memory;
};

RingTraffic ring_traffic(const Problem& p, const TokenBytes& bytes, const Topology& topology, int rank, Count heads_q,
                         Count heads_kv) {
  const int right = (rank + 1) % topology.rank_count;
  Count largest = 0;
  for (int of = 0; of < topology.rank_count; ++of) {
    largest = std::max(largest, owned_token_count(topology, of, p.seqlen_kv));
  }
  const Count blocks = topology.rank_count == 1 ? 0 : 2 * largest * bytes.keys(heads_kv);
  return {(p.seqlen_kv - owned_token_count(topology, right, p.seqlen_kv)) * bytes.keys(heads_kv),
          topology.rank_count - 1, blocks + owned_token_count(topology, rank, p.seqlen_q) * bytes.partials(heads_q)};
}

Count pairs_of(const Problem& p, const Topology& topology, int rank, Count heads_q) {
  const Visibility visibility(p);
  Count pairs = 0;
  for (const TokenRun& run : owned_tokens(topology, rank, p.seqlen_q)) {
    for (Count row = run.begin; row < run.end; row += run.step) pairs += visibility.count(row);
  }
  return pairs * p.batch * heads_q;
}

RankReport head_split_formula(const Problem& p, const TokenBytes& bytes) {
  const int members = head_split_group_size(p.topology);
  const int member = p.rank % members, first = p.rank - member, ring_rank = p.rank / members;
  const Topology ring = ring_of(p.topology);
  const HeadSplitPlan own = head_split_plan(p, p.rank);
  const Count rows = owned_token_count(p.topology, p.rank, p.seqlen_q);
  const Count keys = owned_token_count(p.topology, p.rank, p.seqlen_kv);
  Count packed = 0, returned = 0, arrived = 0;
  for (int rank = first; rank < first + members; ++rank) {
    if (rank == p.rank) continue;
    const HeadShare theirs = head_split_plan(p, rank).share;
    packed += rows * bytes.query(theirs.q_count) + keys * bytes.keys(theirs.kv_count);
    returned += owned_token_count(p.topology, rank, p.seqlen_q) * bytes.answer(own.share.q_count);
    arrived += rows * bytes.answer(theirs.q_count);
  }
  RankReport report{{0, packed + returned}, {0, 2}};
  Count computing = 0;
  for (const HeadShare& part : own.even_parts) {
    const RingTraffic in_ring = ring_traffic(p, bytes, ring, ring_rank, part.q_count, part.kv_count);
    report.bytes_sent.want += in_ring.sent;
    report.exchanges.want += in_ring.exchanges;
    computing = std::max(computing, in_ring.memory);
  }
  const Count all_rows = owned_token_count(ring, ring_rank, p.seqlen_q);
  const Count all_keys = owned_token_count(ring, ring_rank, p.seqlen_kv);
  const Count gathered = all_rows * bytes.query(own.share.q_count) + all_keys * bytes.keys(own.share.kv_count);
  const Count answered = all_rows * bytes.answer(own.share.q_count);
  report.memory_bytes_peak.want = std::max({gathered + packed, gathered + answered + computing, answered + arrived});
  report.pairs.want = pairs_of(p, ring, ring_rank, own.share.q_count);
  return report;
}

}  // namespace

RankReport traffic_formula(const Problem& p, Dtype partial) {
  const TokenBytes bytes{p, static_cast<Count>(size_bytes(partial))};
  const Topology& topology = p.topology;
  if (topology.schedule == Schedule::kHeadSplit || topology.head_split_ranks > 1) return head_split_formula(p, bytes);
  RankReport report;
  report.pairs.want = pairs_of(p, topology, p.rank, p.heads_q);
  if (topology.schedule == Schedule::kAllGather) {
    const Count own = owned_token_count(topology, p.rank, p.seqlen_kv) * bytes.keys(p.heads_kv);
    report.bytes_sent.want = own * (topology.rank_count - 1);
    report.exchanges.want = 1;
    report.memory_bytes_peak.want = p.seqlen_kv * bytes.keys(p.heads_kv) +
                                    owned_token_count(topology, p.rank, p.seqlen_q) * bytes.partials(p.heads_q);
    return report;
  }
  const RingTraffic ring = ring_traffic(p, bytes, topology, p.rank, p.heads_q, p.heads_kv);
  report.bytes_sent.want = ring.sent;
  report.exchanges.want = ring.exchanges;
  report.memory_bytes_peak.want = ring.memory;
  return report;
}

}  // namespace ringproof

//     pack          own tokens, by the member that computes the heads
//     all-to-all    Q, K, V: now some heads of all tokens of the group
//     attention     of those heads, over the ranks of the ring that hold them (one rank with head_split)
//     all-to-all    O, lse: now all heads of the own tokens
//     unpack
//
// All buffers that travel have the sequence outermost, so that a segment of tokens is one piece of memory: what is sent
// back of O lies where attention wrote it, and what arrives of Q, K and V lies where attention reads it, in the order
// of the ring's rank.

#include "distributed/head_split.h"

#include <vector>

#include "distributed/buffer.h"
#include "distributed/communicator_subgroup.h"
#include "distributed/head_split_plan.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

enum Part : std::int32_t { kQ, kK, kV, kOut, kLse };

struct HeadSplit {
  Communicator& communicator;
  const LocalStep& local_step;
  const RingParts& parts;
  const Problem& problem;
  std::uint64_t case_id;
  std::vector<HeadSplitPlan> plans;  // of the members, in their order
  int member;
  SubgroupCommunicator group;  // the members
};

struct Gathered {
  Buffer q, k, v;  // [batch, heads of the share, tokens of the group, dim]
};

std::vector<int> members_of_group(const Topology& topology, int rank) {
  const int members = head_split_group_size(topology);
  std::vector<int> ranks;
  for (int member = 0; member < members; ++member) ranks.push_back(rank / members * members + member);
  return ranks;
}

std::vector<int> members_of_ring(const Topology& topology, int rank) {
  const int members = head_split_group_size(topology);
  std::vector<int> ranks;
  for (int of_ring = rank % members; of_ring < topology.rank_count; of_ring += members) ranks.push_back(of_ring);
  return ranks;
}

int members_of(const HeadSplit& split) { return static_cast<int>(split.plans.size()); }

const HeadSplitPlan& plan_of(const HeadSplit& split, int member) {
  return split.plans[static_cast<std::size_t>(member)];
}

const HeadShare& share_of(const HeadSplit& split, int member) { return plan_of(split, member).share; }

const std::vector<TokenSegment>& segments_of(const HeadSplit& split, int member, Part part) {
  return part == kK || part == kV ? plan_of(split, member).segments_kv : plan_of(split, member).segments_q;
}

TensorView heads_for(const TensorView& view, const HeadShare& share, Part part) {
  return part == kK || part == kV ? heads_of(view, share.kv_begin, share.kv_count)
                                  : heads_of(view, share.q_begin, share.q_count);
}

Buffer buffer_like(const HeadSplit& split, const std::string& name, const TensorView& view) {
  return make_buffer_by_token(split.communicator, name, view.dtype, view.shape);
}

TransferHeader header_of(const HeadSplit& split, int member, Part part, std::size_t segment) {
  const int step = part < kOut ? 0 : 1;
  return {split.case_id, step, split.problem.rank - split.member + member, static_cast<int>(8 * segment) + part};
}

// One message per segment, sent from or received into the rows that `begin` of a segment says.
template <class Begin>
void add_sends(Exchange& exchange, const HeadSplit& split, int peer, int owner_of_tokens, Part part,
               const TensorView& from, const Begin& begin) {
  const std::vector<TokenSegment>& segments = segments_of(split, owner_of_tokens, part);
  for (std::size_t at = 0; at < segments.size(); ++at) {
    exchange.sends.push_back({peer, memory_of(rows_of(from, begin(segments[at]), segments[at].count)),
                              header_of(split, split.member, part, at)});
  }
}

template <class Begin>
void add_receives(Exchange& exchange, const HeadSplit& split, int peer, int owner_of_tokens, Part part,
                  const TensorView& into, const Begin& begin) {
  const std::vector<TokenSegment>& segments = segments_of(split, owner_of_tokens, part);
  for (std::size_t at = 0; at < segments.size(); ++at) {
    exchange.receives.push_back({peer, writable_memory_of(rows_of(into, begin(segments[at]), segments[at].count)),
                                 header_of(split, peer, part, at)});
  }
}

constexpr auto kInLocal = [](const TokenSegment& segment) { return segment.local_begin; };
constexpr auto kInGroup = [](const TokenSegment& segment) { return segment.group_begin; };

void copy_segments(const std::vector<TokenSegment>& segments, const TensorView& local, const TensorView& gathered,
                   bool to_gathered) {
  for (const TokenSegment& segment : segments) {
    const TensorView here = rows_of(local, segment.local_begin, segment.count);
    const TensorView there = rows_of(gathered, segment.group_begin, segment.count);
    to_gathered ? copy_elements(here, there) : copy_elements(there, here);
  }
}

// Tokens for heads: packs, posts, and returns when all has arrived; what was sent is no longer needed then.
void gather(HeadSplit& split, const TensorView& q, const TensorView& k, const TensorView& v, const Gathered& gathered) {
  struct Copy {
    TensorView from, to;
    std::vector<TokenSegment> segments;
    bool is_own;
  };
  std::vector<Copy> copies;
  std::vector<Buffer> packed;
  Exchange exchange{{}, {}, "tokens for heads"};
  Compute pack{"pack", 0, {memory_of(q), memory_of(k), memory_of(v)}, {}, {}};
  const std::pair<const TensorView&, const Buffer&> tensors[]{{q, gathered.q}, {k, gathered.k}, {v, gathered.v}};
  for (const Part part : {kQ, kK, kV}) {
    const auto& [own, all] = tensors[part];
    for (int peer = 0; peer < members_of(split); ++peer) {
      const TensorView from = heads_for(own, share_of(split, peer), part);
      if (peer == split.member) {
        copies.push_back({from, all.view, segments_of(split, peer, part), true});
        pack.writes.push_back(memory_of(all.view));
        continue;
      }
      packed.push_back(
          buffer_like(split, std::string("packed ") + "QKV"[part] + " for member " + std::to_string(peer), from));
      copies.push_back({from, packed.back().view, {}, false});
      pack.writes.push_back(memory_of(packed.back().view));
      add_sends(exchange, split, peer, split.member, part, packed.back().view, kInLocal);
      add_receives(exchange, split, peer, peer, part, all.view, kInGroup);
    }
  }
  pack.run = [&copies](void*) {
    for (const Copy& copy : copies) {
      copy.is_own ? copy_segments(copy.segments, copy.from, copy.to, true) : copy_elements(copy.from, copy.to);
    }
  };
  const WithdrawAtExit withdraw_at_exit(split.communicator);
  const Event is_packed = split.communicator.compute(pack, {});
  split.communicator.wait(split.group.exchange(exchange, {&is_packed, 1}));
}

// Attention of the share's heads over the ring's ranks.
void attend(HeadSplit& split, const Gathered& gathered, const TensorView& out, const TensorView& lse) {
  const HeadShare& share = share_of(split, split.member);
  SubgroupCommunicator ring(split.communicator, members_of_ring(split.problem.topology, split.problem.rank));
  std::uint64_t call = 0;
  for (const HeadShare& part : plan_of(split, split.member).even_parts) {
    Problem problem = split.problem;
    problem.topology = ring_of(split.problem.topology);
    problem.rank = ring.rank();
    problem.heads_q = part.q_count;
    problem.heads_kv = part.kv_count;
    if (problem.has_sink) problem.sink += part.q_begin;
    const HeadShare local{part.q_begin - share.q_begin, part.q_count, part.kv_begin - share.kv_begin, part.kv_count};
    const TensorView lse_of_part = heads_for(lse, local, kLse);
    // Calls of one rank differ by what stands above the ids that callers count.
    ring_forward(ring, split.local_step, split.parts, problem, split.case_id + (call++ << 48),
                 heads_for(gathered.q.view, local, kQ), heads_for(gathered.k.view, local, kK),
                 heads_for(gathered.v.view, local, kV), heads_for(out, local, kOut), &lse_of_part);
  }
}

// Heads for tokens.
void give_back(HeadSplit& split, const TensorView& all_out, const TensorView& all_lse, const TensorView& out,
               const TensorView* lse) {
  std::vector<Buffer> arrived_out, arrived_lse;
  Exchange exchange{{}, {}, "heads for tokens"};
  for (int peer = 0; peer < members_of(split); ++peer) {
    const HeadShare& share = share_of(split, peer);
    Shape shape = heads_for(out, share, kOut).shape;
    const bool is_own = peer == split.member;
    if (is_own) shape[2] = 0;
    const std::string of_peer = " of member " + std::to_string(peer);
    arrived_out.push_back(make_buffer_by_token(split.communicator, "O" + of_peer, out.dtype, shape));
    shape[3] = 1;
    arrived_lse.push_back(make_buffer_by_token(split.communicator, "lse" + of_peer, all_lse.dtype, shape));
    if (is_own) continue;
    add_sends(exchange, split, peer, peer, kOut, all_out, kInGroup);
    add_sends(exchange, split, peer, peer, kLse, all_lse, kInGroup);
    add_receives(exchange, split, peer, split.member, kOut, arrived_out.back().view, kInLocal);
    add_receives(exchange, split, peer, split.member, kLse, arrived_lse.back().view, kInLocal);
  }
  const TensorView lse_wanted = lse == nullptr ? TensorView{} : *lse;
  const auto unpack = [&, lse_wanted](void*) {
    for (int peer = 0; peer < members_of(split); ++peer) {
      const auto at = static_cast<std::size_t>(peer);
      const HeadShare& share = share_of(split, peer);
      const auto put = [&](const TensorView& to, const TensorView& all, const TensorView& from, Part part) {
        const TensorView heads = heads_for(to, share, part);
        peer == split.member ? copy_segments(segments_of(split, peer, part), heads, all, false)
                             : copy_elements(from, heads);
      };
      put(out, all_out, arrived_out[at].view, kOut);
      if (lse != nullptr) put(lse_wanted, all_lse, arrived_lse[at].view, kLse);
    }
  };
  const WithdrawAtExit withdraw_at_exit(split.communicator);
  const Event arrived = split.group.exchange(exchange, {});
  Compute compute{
      "unpack", 1, {memory_of(all_out), memory_of(all_lse)}, {memory_of(out), memory_of(lse_wanted)}, unpack};
  for (const Buffer& buffer : arrived_out) compute.reads.push_back(memory_of(buffer.view));
  for (const Buffer& buffer : arrived_lse) compute.reads.push_back(memory_of(buffer.view));
  split.communicator.wait(split.communicator.compute(compute, {&arrived, 1}));
}

}  // namespace

void head_split_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                        const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                        const TensorView& v, const TensorView& out, const TensorView* lse) {
  const Topology& topology = problem.topology;
  assert_that(topology.rank_count == communicator.rank_count() && problem.rank == communicator.rank(),
              "a head split runs on the ranks of its topology");
  const std::vector<int> members = members_of_group(topology, problem.rank);
  const int ring_rank = problem.rank / head_split_group_size(topology);
  HeadSplit split{communicator,
                  local_step,
                  parts,
                  problem,
                  case_id,
                  {},
                  problem.rank - members.front(),
                  SubgroupCommunicator(communicator, members)};
  for (const int rank : members) split.plans.push_back(parts.head_split(problem, rank));
  const HeadShare& share = share_of(split, split.member);
  const std::int64_t rows = owned_token_count(ring_of(topology), ring_rank, problem.seqlen_q);
  const std::int64_t keys = owned_token_count(ring_of(topology), ring_rank, problem.seqlen_kv);
  const auto buffer = [&](const char* name, Dtype dtype, std::int64_t heads, std::int64_t tokens, std::int64_t dim) {
    return make_buffer_by_token(communicator, name, dtype, {problem.batch, heads, tokens, dim});
  };
  Gathered gathered{buffer("gathered Q", problem.dtype, share.q_count, rows, problem.head_dim_qk),
                    buffer("gathered K", problem.dtype, share.kv_count, keys, problem.head_dim_qk),
                    buffer("gathered V", problem.dtype, share.kv_count, keys, problem.head_dim_v)};
  gather(split, q, k, v, gathered);
  const Buffer all_out = buffer("O of the heads", dtype_of_out(problem.dtype), share.q_count, rows, problem.head_dim_v);
  const Buffer all_lse = buffer("lse of the heads", dtype_of_lse(problem.dtype), share.q_count, rows, 1);
  attend(split, gathered, all_out.view, all_lse.view);
  gathered = {};
  give_back(split, all_out.view, all_lse.view, out, lse);
}

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/problem.h"

namespace ringproof {

/// Query heads [q_begin, q_begin + q_count) and the kv heads they attend with. Counts may be 0.
struct HeadShare {
  std::int64_t q_begin, q_count, kv_begin, kv_count;
  bool operator==(const HeadShare&) const = default;
};

/// Tokens that lie behind one another for their owner and for the whole head-split group.
struct TokenSegment {
  std::int64_t local_begin;  ///< in the owner's local tensor
  std::int64_t group_begin;  ///< in the tensor of the group's rank of the ring
  std::int64_t count;
  bool operator==(const TokenSegment&) const = default;
};

/// What one rank brings into its head-split group, and what it computes for all of it.
struct HeadSplitPlan {
  /// Query heads are dealt out to the members in consecutive pieces that differ by at most one, so any count of heads
  /// is legal; with fewer heads than members some get none. A kv head whose group is cut goes to every member that
  /// needs it.
  HeadShare share;
  /// The share as problems of their own, each with heads_q a multiple of heads_kv and query head h of it attending with
  /// kv head h / (heads_q / heads_kv): the share itself, or a part per kv head where groups are cut unevenly.
  std::vector<HeadShare> even_parts;
  /// Where its tokens stand, a segment per run, empty ones too.
  std::vector<TokenSegment> segments_q, segments_kv;
};

/// The plan of a rank. A pure function; the problem's own `rank` is not read. Requires schedule head_split or a hybrid.
HeadSplitPlan head_split_plan(const Problem& problem, int rank);

using HeadSplitPlanner = decltype(&head_split_plan);

/// Ranks of one head-split group, which lie behind one another: all with head_split, head_split_ranks in a hybrid.
inline int head_split_group_size(const Topology& topology) {
  return topology.schedule == Schedule::kHeadSplit ? topology.rank_count : topology.head_split_ranks;
}

}  // namespace ringproof

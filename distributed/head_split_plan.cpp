// Member u of U computes query heads [floor(u H / U), floor((u + 1) H / U)), and kv heads from that of its first to
// that of its last query head. Where H_kv is a multiple of U this is H_kv / U whole groups for each.
//
// Every run of the ring's shard is cut into U consecutive pieces (schedule.h), so a run of the owner is a run of the
// shard too, begun later.

#include "distributed/head_split_plan.h"

#include <algorithm>

namespace ringproof {
namespace {

HeadShare head_share(const Problem& problem, int members, int member) {
  const std::int64_t begin = problem.heads_q * member / members, end = problem.heads_q * (member + 1) / members;
  if (begin == end) return {begin, 0, begin / problem.heads_per_group(), 0};
  const std::int64_t kv_begin = begin / problem.heads_per_group(), kv_last = (end - 1) / problem.heads_per_group();
  return {begin, end - begin, kv_begin, kv_last - kv_begin + 1};
}

std::vector<HeadShare> even_parts(const Problem& problem, const HeadShare& share) {
  if (share.q_count == 0) return {};
  const std::int64_t group = problem.heads_per_group(), end = share.q_begin + share.q_count;
  const bool are_groups_whole = share.q_begin % group == 0 && end % group == 0;
  if (are_groups_whole || share.kv_count == 1) return {share};
  std::vector<HeadShare> parts;
  for (std::int64_t kv = share.kv_begin; kv < share.kv_begin + share.kv_count; ++kv) {
    const std::int64_t first = std::max(share.q_begin, kv * group), last = std::min(end, (kv + 1) * group);
    parts.push_back({first, last - first, kv, 1});
  }
  return parts;
}

std::vector<TokenSegment> token_segments(const Topology& topology, int rank, std::int64_t seqlen) {
  const std::vector<TokenRun> own = owned_tokens(topology, rank, seqlen);
  const std::vector<TokenRun> of_group =
      owned_tokens(ring_of(topology), rank / head_split_group_size(topology), seqlen);
  std::vector<TokenSegment> segments;
  std::int64_t local_begin = 0, group_begin = 0;
  for (std::size_t run = 0; run < own.size(); ++run) {
    const std::int64_t before = (own[run].begin - of_group[run].begin) / of_group[run].step;
    segments.push_back({local_begin, group_begin + before, own[run].count()});
    local_begin += own[run].count();
    group_begin += of_group[run].count();
  }
  return segments;
}

}  // namespace

HeadSplitPlan head_split_plan(const Problem& problem, int rank) {
  const int members = head_split_group_size(problem.topology);
  const HeadShare share = head_share(problem, members, rank % members);
  return {share, even_parts(problem, share), token_segments(problem.topology, rank, problem.seqlen_q),
          token_segments(problem.topology, rank, problem.seqlen_kv)};
}

}  // namespace ringproof

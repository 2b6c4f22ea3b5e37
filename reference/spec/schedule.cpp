#include "reference/spec/schedule.h"

#include <algorithm>
#include <array>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Floor of index * seqlen / pieces without the product overflowing.
std::int64_t piece_begin(std::int64_t seqlen, std::int64_t pieces, std::int64_t index) {
  return seqlen / pieces * index + seqlen % pieces * index / pieces;
}

TokenRun piece(std::int64_t seqlen, std::int64_t pieces, std::int64_t index) {
  return {piece_begin(seqlen, pieces, index), piece_begin(seqlen, pieces, index + 1), 1};
}

// Piece `index` of `pieces` of a run.
TokenRun piece_of(const TokenRun& run, std::int64_t pieces, std::int64_t index) {
  const TokenRun places = piece(run.count(), pieces, index);
  return {run.begin + places.begin * run.step, std::min(run.end, run.begin + places.end * run.step), run.step};
}

}  // namespace

std::vector<TokenRun> owned_tokens(const Topology& topology, int rank, std::int64_t seqlen) {
  const std::int64_t ranks = topology.rank_count;
  assert_that(rank >= 0 && rank < ranks, "a rank lies in [0, rank_count)");
  if (topology.head_split_ranks > 1) {
    const int head_split_ranks = topology.head_split_ranks;
    std::vector<TokenRun> runs = owned_tokens(ring_of(topology), rank / head_split_ranks, seqlen);
    for (TokenRun& run : runs) run = piece_of(run, head_split_ranks, rank % head_split_ranks);
    return runs;
  }
  switch (topology.schedule) {
    case Schedule::kSingle: return {{0, seqlen, 1}};
    case Schedule::kStriped: return {{rank, seqlen, ranks}};
    case Schedule::kZigzag: return {piece(seqlen, 2 * ranks, rank), piece(seqlen, 2 * ranks, 2 * ranks - 1 - rank)};
    case Schedule::kContiguous:
    case Schedule::kHeadSplit:
    case Schedule::kAllGather: return {piece(seqlen, ranks, rank)};
  }
  assert_that(false, "every schedule owns tokens");
  return {};
}

std::vector<std::int64_t> local_tokens_of(const Topology& topology, int rank, std::int64_t seqlen) {
  std::vector<std::int64_t> tokens;
  for (const TokenRun& run : owned_tokens(topology, rank, seqlen)) {
    for (std::int64_t token = run.begin; token < run.end; token += run.step) tokens.push_back(token);
  }
  return tokens;
}

std::int64_t owned_token_count(const Topology& topology, int rank, std::int64_t seqlen) {
  std::int64_t count = 0;
  for (const TokenRun& run : owned_tokens(topology, rank, seqlen)) count += run.count();
  return count;
}

std::vector<std::int32_t> owner_of_tokens(const Topology& topology, std::int64_t seqlen) {
  std::vector<std::int32_t> owners(static_cast<std::size_t>(seqlen), 0);
  for (int rank = 0; rank < topology.rank_count; ++rank) {
    for (const std::int64_t token : local_tokens_of(topology, rank, seqlen)) {
      owners[static_cast<std::size_t>(token)] = rank;
    }
  }
  return owners;
}

Topology ring_of(const Topology& topology) {
  const bool sees_all_keys = topology.schedule == Schedule::kHeadSplit || topology.schedule == Schedule::kAllGather;
  if (sees_all_keys) return {Schedule::kSingle};
  return {topology.schedule, topology.rank_count / topology.head_split_ranks};
}

std::int64_t merges_of(const Topology& topology) {
  const Topology ring = ring_of(topology);
  return ring.schedule == Schedule::kZigzag ? 2 * ring.rank_count - 1 : ring.rank_count - 1;
}

const char* to_string(Schedule schedule) {
  static constexpr std::array kNames{"single", "contiguous", "striped", "zigzag", "head_split", "all_gather"};
  return kNames.at(static_cast<std::size_t>(schedule));
}

std::string to_string(const Topology& topology) {
  if (topology.schedule == Schedule::kSingle) return "single";
  const std::string ring =
      to_string(topology.schedule) + std::to_string(topology.rank_count / topology.head_split_ranks);
  return topology.head_split_ranks > 1 ? "hybrid" + std::to_string(topology.head_split_ranks) + "x" + ring : ring;
}

}  // namespace ringproof

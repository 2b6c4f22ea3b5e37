#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ringproof {

/// How attention is split over ranks; the values are those of rp_schedule in the plug-in ABI.
enum class Schedule : std::int32_t {
  kSingle = 0,
  kContiguous = 1,
  kStriped = 2,
  kZigzag = 3,
  kHeadSplit = 4,
  kAllGather = 5,
};

/// A schedule and its rank count. A hybrid has head_split_ranks > 1; schedule is then its ring's, and
/// rank_count the product of both.
struct Topology {
  Schedule schedule;
  std::int32_t rank_count = 1;
  std::int32_t head_split_ranks = 1;
  bool operator==(const Topology&) const = default;
};

/// Tokens begin, begin + step, ... below end: a piece of a sequence that one rank owns.
struct TokenRun {
  std::int64_t begin, end, step;
  std::int64_t count() const { return begin < end ? (end - begin + step - 1) / step : 0; }
  bool operator==(const TokenRun&) const = default;
};

/// The runs of tokens that `rank` owns out of a sequence of `seqlen`, in the order of its local tensor:
/// contiguous one run, striped one run of step rank_count, zigzag two runs (piece r and piece 2P - 1 - r of
/// 2P), which may be empty. Pieces begin at floor(index * seqlen / pieces), so lengths that do not divide are
/// legal and differ by at most one. head_split and all_gather own tokens as contiguous does. In a hybrid, rank r
/// belongs to rank r / head_split_ranks of its ring, whose ranks take consecutive pieces of each of its runs. The runs
/// of all ranks partition [0, seqlen).
std::vector<TokenRun> owned_tokens(const Topology& topology, int rank, std::int64_t seqlen);

/// Those tokens one by one, in the order of the rank's local tensor: local row i is token [i].
std::vector<std::int64_t> local_tokens_of(const Topology& topology, int rank, std::int64_t seqlen);

/// How many tokens that is.
std::int64_t owned_token_count(const Topology& topology, int rank, std::int64_t seqlen);

/// The rank that owns each token of the sequence.
std::vector<std::int32_t> owner_of_tokens(const Topology& topology, std::int64_t seqlen);

/// The ring in which partial results of keys are made and merged: a hybrid's ring, single for head_split and all_gather
/// (one computation sees all keys of its rows), else the topology itself.
Topology ring_of(const Topology& topology);

/// Merges of partial results that one row goes through: contiguous and striped ranks - 1, zigzag 2 ranks - 1
/// (a rank holds two runs of keys), hybrid those of its ring, others 0. The count enters the bounds.
std::int64_t merges_of(const Topology& topology);

/// `single`, `contiguous4`, `zigzag8`, `hybrid2xzigzag4`, ...
std::string to_string(const Topology& topology);

/// The name of a schedule alone.
const char* to_string(Schedule schedule);

}  // namespace ringproof

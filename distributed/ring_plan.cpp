// Block held: at step t, rank r holds the keys of rank (r - t) mod P.
//
// Shifted band: a run owns tokens q0 + s a (rows) and k0 + s b (keys), with one stride s for both (1, or P when
// striped). Row a sees key b iff q0 + s a + lo <= k0 + s b <= q0 + s a + hi, which is
//     a + ceil((q0 - k0 + lo) / s) <= b <= a + floor((q0 - k0 + hi) / s),
// so what a shard sees of a band is again a band, for every schedule and without rounding.

#include "distributed/ring_plan.h"

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct LocalRun {
  TokenRun tokens;
  std::int64_t local_begin;  // of the first token, in the rank's tensor
};

// The runs of a rank without empty ones, neighbours joined: a zigzag's last rank, and one rank alone, hold one run.
std::vector<LocalRun> local_runs(const Topology& topology, int rank, std::int64_t seqlen) {
  std::vector<LocalRun> runs;
  std::int64_t local_begin = 0;
  for (const TokenRun& tokens : owned_tokens(topology, rank, seqlen)) {
    if (tokens.count() == 0) continue;
    if (!runs.empty() && tokens.step == 1 && runs.back().tokens.step == 1 && runs.back().tokens.end == tokens.begin) {
      runs.back().tokens.end = tokens.end;
    } else {
      runs.push_back({tokens, local_begin});
    }
    local_begin += tokens.count();
  }
  return runs;
}

std::int64_t floor_divide(std::int64_t numerator, std::int64_t divisor) {
  const std::int64_t quotient = numerator / divisor;
  return quotient * divisor > numerator ? quotient - 1 : quotient;
}

Band shifted(const Band& band, const TokenRun& rows, const TokenRun& keys) {
  assert_that(rows.step == keys.step, "rows and keys of a ring are dealt out with one stride");
  const std::int64_t shift = rows.begin - keys.begin;
  Band local = band;
  if (band.lo > -kUnbounded) local.lo = -floor_divide(-(shift + band.lo), keys.step);
  if (band.hi < kUnbounded) local.hi = floor_divide(shift + band.hi, keys.step);
  return local;
}

bool sees_anything(const RingPiece& piece) {
  return piece.band.lo <= piece.band.hi && piece.band.lo <= piece.key_count - 1 &&
         piece.row_count - 1 + piece.band.hi >= 0;
}

}  // namespace

RingStep ring_step(const Topology& topology, int rank, int step, const Band& band, std::int64_t seqlen_q,
                   std::int64_t seqlen_kv) {
  const int rank_count = topology.rank_count;
  assert_that(rank >= 0 && rank < rank_count && step >= 0 && step < rank_count, "rank and step lie in [0, rank_count)");
  RingStep now{(rank - step + rank_count) % rank_count, {}};
  for (const LocalRun& rows : local_runs(topology, rank, seqlen_q)) {
    for (const LocalRun& keys : local_runs(topology, now.block, seqlen_kv)) {
      const RingPiece piece{rows.local_begin, rows.tokens.count(), keys.local_begin, keys.tokens.count(),
                            shifted(band, rows.tokens, keys.tokens)};
      if (sees_anything(piece)) now.pieces.push_back(piece);
    }
  }
  return now;
}

}  // namespace ringproof

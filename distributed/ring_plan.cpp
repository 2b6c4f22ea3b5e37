// Block held: at step t, rank r holds the keys of rank (r - t) mod P.
//
// Shifted band: a run owns tokens q0 + s a (rows) and k0 + s b (keys), with one stride s for both (1, or P when
// striped). Row a sees key b iff q0 + s a + lo <= k0 + s b <= q0 + s a + hi, which is
//     a + ceil((q0 - k0 + lo) / s) <= b <= a + floor((q0 - k0 + hi) / s),
// so what a shard sees of a band is again a band, for every schedule and without rounding.
//
// Areas: every mask but block_sparse is a set of rectangles, rows [a, a') times keys [b, b'), each with a band and no
// two with a row in common: one for a band, one per document, bottom-right causal as j <= i + b' - a'. A run cut
// to a rectangle is a run, so a document that straddles shards needs nothing of the local step but a band.
//
// Blocks: the tile of a local row is that of its token. Local tiles are as large as lets every local tile lie in one
// tile of the mask: the greatest common divisor of the local indices at which the tile changes.

#include "distributed/ring_plan.h"

#include <algorithm>
#include <numeric>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct LocalRun {
  TokenRun tokens;
  std::int64_t local_begin;  // of the first token, in the rank's tensor
};

// Tokens that see each other by a band.
struct Area {
  std::int64_t row_begin, row_end, key_begin, key_end;
  Band band;
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

std::vector<LocalRun> held_runs(const Topology& topology, int block, std::int64_t seqlen_kv) {
  const bool holds_all = topology.schedule == Schedule::kAllGather;
  return local_runs(holds_all ? Topology{Schedule::kSingle} : topology, holds_all ? 0 : block, seqlen_kv);
}

std::vector<Area> areas_of(const Problem& problem) {
  const Mask& mask = problem.mask;
  constexpr Band kWhole{-kUnbounded, kUnbounded};
  if (mask.kind == MaskKind::kBlockSparse) return {{0, problem.seqlen_q, 0, problem.seqlen_kv, kWhole}};
  if (mask.kind != MaskKind::kDocument) {
    return {{0, problem.seqlen_q, 0, problem.seqlen_kv, band_of(mask, problem.seqlen_q, problem.seqlen_kv)}};
  }
  std::vector<Area> areas;
  std::int64_t row = 0, key = 0;
  for (std::size_t document = 0; document < mask.document_lengths_q.size(); ++document) {
    const std::int64_t row_end = row + mask.document_lengths_q[document];
    const std::int64_t key_end = key + mask.document_lengths_kv[document];
    areas.push_back({row, row_end, key, key_end, mask.document_causal ? Band{-kUnbounded, key_end - row_end} : kWhole});
    row = row_end;
    key = key_end;
  }
  return areas;
}

// The tokens of a run that lie in [begin, end).
LocalRun cut(const LocalRun& run, std::int64_t begin, std::int64_t end) {
  const auto tokens_before = [&](std::int64_t token) {
    const std::int64_t distance = token - run.tokens.begin;
    return std::clamp<std::int64_t>((distance + run.tokens.step - 1) / run.tokens.step, 0, run.tokens.count());
  };
  const std::int64_t first = begin <= run.tokens.begin ? 0 : tokens_before(begin);
  const std::int64_t last = end <= run.tokens.begin ? 0 : tokens_before(end);
  const std::int64_t step = run.tokens.step;
  return {{run.tokens.begin + first * step, std::min(run.tokens.end, run.tokens.begin + last * step), step},
          run.local_begin + first};
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

std::int64_t local_tile(const TokenRun& tokens, std::int64_t tile) {
  std::int64_t common = tokens.count();
  for (std::int64_t i = 1; i < tokens.count(); ++i) {
    const std::int64_t token = tokens.begin + i * tokens.step;
    if (token / tile != (token - tokens.step) / tile) common = std::gcd(common, i);
  }
  return common;
}

PieceBlocks blocks_of(const Problem& problem, const TokenRun& rows, const TokenRun& keys) {
  const Mask& mask = problem.mask;
  if (mask.kind != MaskKind::kBlockSparse) return {};
  assert_that(problem.block_mask != nullptr, "a block_sparse mask comes with its flags");
  const std::int64_t tiles = (problem.seqlen_kv - 1) / mask.block_kv + 1;
  PieceBlocks blocks{local_tile(rows, mask.block_q), local_tile(keys, mask.block_kv), {}};
  for (std::int64_t row = 0; row < rows.count(); row += blocks.block_q) {
    const std::int64_t tile_row = (rows.begin + row * rows.step) / mask.block_q;
    for (std::int64_t key = 0; key < keys.count(); key += blocks.block_kv) {
      const std::int64_t tile_key = (keys.begin + key * keys.step) / mask.block_kv;
      blocks.visible.push_back(problem.block_mask[tile_row * tiles + tile_key]);
    }
  }
  return blocks;
}

}  // namespace

RingStep ring_step(const Problem& problem, int rank, int step) {
  const Topology& topology = problem.topology;
  const int rank_count = topology.rank_count;
  assert_that(rank >= 0 && rank < rank_count && step >= 0 && step < step_count(topology),
              "rank and step lie in [0, rank_count)");
  RingStep now{(rank - step + rank_count) % rank_count, {}};
  const std::vector<LocalRun> row_runs = local_runs(topology, rank, problem.seqlen_q);
  const std::vector<LocalRun> key_runs = held_runs(topology, now.block, problem.seqlen_kv);
  for (const Area& area : areas_of(problem)) {
    for (const LocalRun& row_run : row_runs) {
      const LocalRun rows = cut(row_run, area.row_begin, area.row_end);
      for (const LocalRun& key_run : key_runs) {
        const LocalRun keys = cut(key_run, area.key_begin, area.key_end);
        if (rows.tokens.count() == 0 || keys.tokens.count() == 0) continue;
        const RingPiece piece{rows.local_begin,
                              rows.tokens.count(),
                              keys.local_begin,
                              keys.tokens.count(),
                              shifted(area.band, rows.tokens, keys.tokens),
                              blocks_of(problem, rows.tokens, keys.tokens)};
        if (sees_anything(piece)) now.pieces.push_back(piece);
      }
    }
  }
  return now;
}

}  // namespace ringproof

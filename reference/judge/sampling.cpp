// A reference of n rows against n keys costs 4 n^2 d flops a head: an hour at a million keys. O, lse and their bounds
// of one row need no other row, so some rows can be judged exactly and speak for the rest.
//
// Let m draws be made, draw s uniform in [s N / m, (s + 1) N / m) of the real line on which row r is [r, r + 1). A
// defect in D of the N rows covers a share f_s of stratum s, sum f_s = m D / N = m f, and is missed with probability
//   prod (1 - f_s) <= (1 - f)^m       (geometric mean against arithmetic mean),
// equal where the defect is spread evenly: stratification never sees less than m independent draws. Rows at edges come
// on top and are not counted, because a defect need not care for them.

#include "reference/judge/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

// A number in [0, 1), the draw-th of this Case's sample; `word` tells random rows from edges.
double uniform(const Case& c, std::int64_t draw, int word) {
  return static_cast<double>(hashed_bits(c.inputs.seed, TensorRole::kLse, draw, word) >> 11) * 0x1p-53;
}

// One index in each of `count` strata of [0, total).
std::set<std::int64_t> drawn(const Case& c, std::int64_t total, std::int64_t count, int word) {
  std::set<std::int64_t> indices;
  for (std::int64_t s = 0; s < count; ++s) {
    const double place = (static_cast<double>(s) + uniform(c, s, word)) / static_cast<double>(count);
    indices.insert(std::min(static_cast<std::int64_t>(place * static_cast<double>(total)), total - 1));
  }
  return indices;
}

// Rows of one head at which kernels change their course.
std::vector<std::int64_t> edges_of_head(const Problem& problem) {
  const std::int64_t n = problem.seqlen_q;
  std::set<std::int64_t> edges;
  const auto add = [&](std::int64_t row) {  // the row where something begins, and the one before
    for (const std::int64_t at : {row - 1, row}) {
      if (at >= 0 && at < n) edges.insert(at);
    }
  };
  for (const std::int64_t tile : {64, 128}) {
    add(tile);
    add((n - 1) / tile * tile);
  }
  for (int rank = 0; rank < problem.topology.rank_count; ++rank) {
    for (const TokenRun& run : owned_tokens(problem.topology, rank, n)) add(run.begin), add(run.end);
  }
  if (problem.mask.kind == MaskKind::kDocument) {
    std::int64_t begin = 0;
    for (const std::int64_t length : problem.mask.document_lengths_q) add(begin += length);
  } else if (problem.mask.kind != MaskKind::kBlockSparse) {
    const Band band = band_of(problem.mask, n, problem.seqlen_kv);
    for (const std::int64_t row : {-band.hi, 1 - band.lo, problem.seqlen_kv - band.hi, problem.seqlen_kv - band.lo}) {
      add(row);
    }
  }
  add(0), add(n);
  return {edges.begin(), edges.end()};
}

// sum over i < m of i + offset, held to [0, n].
double sum_of_clamped(std::int64_t m, std::int64_t n, std::int64_t offset) {
  const std::int64_t first = std::clamp<std::int64_t>(-offset, 0, m), full = std::clamp<std::int64_t>(n - offset, 0, m);
  const double between = static_cast<double>(full - first) * static_cast<double>(full - first - 1) / 2 +
                         static_cast<double>(full - first) * static_cast<double>(first + offset);
  return (full > first ? between : 0.0) + static_cast<double>(m - full) * static_cast<double>(n);
}

// Visible pairs of one head. Row i of a band sees the keys from i + lo to i + hi, both held to [0, n].
double visible_pairs(const Problem& problem) {
  const std::int64_t m = problem.seqlen_q, n = problem.seqlen_kv;
  const Mask& mask = problem.mask;
  double pairs = 0;
  if (mask.kind == MaskKind::kDocument) {
    for (std::size_t i = 0; i < mask.document_lengths_q.size(); ++i) {
      const std::int64_t rows = mask.document_lengths_q[i], keys = mask.document_lengths_kv[i];
      const std::int64_t offset = mask.document_causal ? keys - rows + 1 : keys;
      pairs += mask.document_causal ? sum_of_clamped(rows, keys, offset)
                                    : static_cast<double>(rows) * static_cast<double>(keys);
    }
    return pairs;
  }
  if (mask.kind == MaskKind::kBlockSparse) {
    const std::vector<std::uint8_t> flags = block_flags(mask, m, n);
    const std::int64_t tiles = (n + mask.block_kv - 1) / mask.block_kv;
    for (std::size_t tile = 0; tile < flags.size(); ++tile) {
      const auto r = static_cast<std::int64_t>(tile) / tiles, s = static_cast<std::int64_t>(tile) % tiles;
      const double rows = static_cast<double>(std::min(mask.block_q, m - r * mask.block_q));
      if (flags[tile] != 0) pairs += rows * static_cast<double>(std::min(mask.block_kv, n - s * mask.block_kv));
    }
    return pairs;
  }
  const Band band = band_of(mask, m, n);
  return band.hi < band.lo ? 0 : sum_of_clamped(m, n, band.hi + 1) - sum_of_clamped(m, n, band.lo);
}

std::string with_commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

}  // namespace

SamplingRule all_rows() { return {std::numeric_limits<double>::infinity(), 1}; }

double reference_work_flop(const Problem& problem) {
  return 2 * static_cast<double>(problem.head_dim_qk + problem.head_dim_v) * visible_pairs(problem) *
         static_cast<double>(problem.batch * problem.heads_q);
}

void require_judgeable(const Case& c, const SamplingRule& rule, std::uint64_t memory_bytes_max) {
  require_judgeable(c, memory_bytes_max, rule.rows_sampled);
  if (!wants_sampling(c, rule)) require_judgeable(c, memory_bytes_max);
}

bool wants_sampling(const Case& c, const SamplingRule& rule) {
  return rule.rows_sampled < element_count(c.problem.shape_lse()) &&
         rule.work_flop_max < reference_work_flop(c.problem);
}

RowSample sample_rows(const Case& c, std::int64_t count) {
  const std::int64_t n = c.problem.seqlen_q, heads = c.problem.batch * c.problem.heads_q;
  assert_that(count >= 1 && count <= heads * n, "a sample has at least one row and no more than there are");
  const std::vector<std::int64_t> edges = edges_of_head(c.problem);
  const auto edge_count = static_cast<std::int64_t>(edges.size());
  std::set<std::int64_t> rows;
  for (const std::int64_t at : drawn(c, heads * edge_count, std::min(count / 8, heads * edge_count), 1)) {
    rows.insert(at / edge_count * n + edges[static_cast<std::size_t>(at % edge_count)]);
  }
  const auto drawn_count = count - static_cast<std::int64_t>(rows.size());
  rows.merge(drawn(c, heads * n, drawn_count, 0));
  return {{rows.begin(), rows.end()}, drawn_count};
}

double detection_probability(double fraction, std::int64_t rows_drawn) {
  return -std::expm1(static_cast<double>(rows_drawn) * std::log1p(-fraction));
}

std::string sampling_sentence(const RowsJudged& rows) {
  if (!rows.is_sample()) return "";
  const double seen = std::floor(detection_probability(0.01, rows.drawn) * 100) / 100;
  std::array<char, 16> probability{};
  std::snprintf(probability.data(), probability.size(), "%.2f", seen);
  return with_commas(rows.judged) + " of " + with_commas(rows.total) +
         " rows sampled: a defect in 1 % of rows is seen with probability " + probability.data() +
         "; of the others lse is held to its range, and O searched for NaN";
}

}  // namespace ringproof

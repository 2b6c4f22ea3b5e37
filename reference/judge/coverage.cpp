// With p_j = exp(S_j - lse) the final weights of a row's visible keys, m_t its maximum over the tiles before t, and
// r_t = exp(m_t - m_(t+1)) where the maximum rises in tile t:
//
//   rescale mass = sum over those t of (sum of p_j before tile t) |1 - r_t|
//
// A kernel that leaves the factor out in tile t alone gives the keys before it 1 / r_t of their weight: the mass is a
// lower estimate of the weight that goes astray. A sink on key 0 never rises, and behind a steep slope the mass before
// is nothing: both have no coverage, however often the line of code runs.
//
// Merging sides a and b of weights W_a, W_b (sums of p_j): averaging without weights moves O by (W_a / (W_a + W_b) -
// 1/2) (O_a - O_b), hence the dominance; a merge O_a - sigmoid(lse_b - lse_a) (O_a - O_b) loses u |O_a| where the
// bound grants some (n + 3 (|lse| + |M| + 20)) u P|V|, hence the leverage. A row begins with the keys of its own rank
// and goes on with those of the ranks before it, as rings do.

#include "reference/judge/coverage.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <set>
#include <string_view>
#include <vector>

#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kProductsMax = 0x1p21;  // multiplications a measurement may take

struct WeighedKey {
  std::int64_t key;
  double score, weight;
};

double score_of(const Reference& reference, std::int64_t b, std::int64_t h, std::int64_t row, std::int64_t key) {
  const Problem& p = reference.c.problem;
  const TensorView q = reference.inputs.q.view(), k = reference.inputs.k.view();
  double product = 0;
  for (std::int64_t c = 0; c < p.head_dim_qk; ++c) {
    product += q.load(b, h, row, c) * k.load(b, h / p.heads_per_group(), key, c);
  }
  const double score = p.softmax_scale * p.descale_q * p.descale_k * product;
  return p.softcap == 0 ? score : p.softcap * std::tanh(score / p.softcap);
}

double rescale_mass_of(const std::vector<WeighedKey>& keys, std::int64_t tile_kv) {
  double mass = 0, before = 0, maximum = -std::numeric_limits<double>::infinity();
  for (std::size_t first = 0; first < keys.size();) {
    const std::int64_t tile = keys[first].key / tile_kv;
    double risen = maximum, weight = 0;
    for (; first < keys.size() && keys[first].key / tile_kv == tile; ++first) {
      risen = std::max(risen, keys[first].score);
      weight += keys[first].weight;
    }
    if (before > 0) mass += before * -std::expm1(maximum - risen);
    maximum = risen;
    before += weight;
  }
  return mass;
}

// One side of a merge: its weight, and sums of p v and p |v| by column.
struct Side {
  double weight = 0;
  std::vector<double> p_v, p_abs_v;
};

class RowCoverage {
 public:
  RowCoverage(const Reference& reference, std::int64_t tile_kv)
      : reference_(reference),
        problem_(reference.c.problem),
        visibility_(problem_),
        tile_kv_(tile_kv),
        merges_(merges_of(problem_.topology) > 0) {
    if (!merges_) return;
    owners_ = owner_of_tokens(ring_of(problem_.topology), problem_.seqlen_kv);
    owners_of_rows_ = owner_of_tokens(ring_of(problem_.topology), problem_.seqlen_q);
  }

  void add(std::int64_t row_linear, double lse) {
    if (!std::isfinite(lse)) return;
    const std::int64_t row = row_linear % problem_.seqlen_q, head = row_linear / problem_.seqlen_q;
    const std::int64_t b = head / problem_.heads_q, h = head % problem_.heads_q;
    const std::vector<KeyRange> ranges = visibility_.ranges(row);
    std::vector<WeighedKey> keys;
    for (const KeyRange& range : ranges) {
      for (std::int64_t key = range.begin; key < range.end; ++key) {
        const double score = score_of(reference_, b, h, row, key);
        keys.push_back({key, score, std::exp(score - lse)});
      }
    }
    if (keys.empty()) return;
    add_edges(ranges, keys);
    add_tiles(ranges);
    if (keys.size() > kCoverageKeysMax) return;
    ++rows_;
    total_.rescale_mass += rescale_mass_of(keys, tile_kv_);
    if (merges_)
      add_merges(keys, lse, b, h / problem_.heads_per_group(), owners_of_rows_[static_cast<std::size_t>(row)]);
  }

  Coverage mean() const {
    Coverage coverage = total_;
    coverage.rescale_mass /= std::max(rows_, 1.0);
    coverage.merge_dominance /= std::max(rows_, 1.0);
    coverage.edge_mass /= std::max(rows_with_edge_, 1.0);
    if (leverages_.size() == 10) coverage.merge_leverage = -leverages_.top();
    return coverage;
  }

 private:
  void add_edges(const std::vector<KeyRange>& ranges, const std::vector<WeighedKey>& keys) {
    double lightest = std::numeric_limits<double>::infinity();
    std::size_t at = 0;
    for (const KeyRange& range : ranges) {
      if (range.begin > 0) lightest = std::min(lightest, keys[at].weight);
      at += static_cast<std::size_t>(range.count());
      if (range.end < problem_.seqlen_kv) lightest = std::min(lightest, keys[at - 1].weight);
    }
    if (std::isinf(lightest)) return;
    total_.edge_mass += lightest;
    ++rows_with_edge_;
  }

  void add_tiles(const std::vector<KeyRange>& ranges) {
    std::set<std::int64_t> partly;
    for (const KeyRange& range : ranges) {
      const std::int64_t first = range.begin / tile_kv_, last = (range.end - 1) / tile_kv_;
      if (range.begin > first * tile_kv_) partly.insert(first);
      if (range.end < std::min((last + 1) * tile_kv_, problem_.seqlen_kv)) partly.insert(last);
    }
    total_.tiles_partly_masked += static_cast<std::int64_t>(partly.size());
  }

  void add_merges(const std::vector<WeighedKey>& keys, double lse, std::int64_t b, std::int64_t h_kv,
                  std::int32_t rank_of_row) {
    const TensorView v = reference_.inputs.v.view();
    const auto columns = static_cast<std::size_t>(problem_.head_dim_v);
    std::vector<Side> sides(static_cast<std::size_t>(ring_of(problem_.topology).rank_count),
                            {0, std::vector<double>(columns), std::vector<double>(columns)});
    for (const WeighedKey& one : keys) {
      Side& side = sides[static_cast<std::size_t>(owners_[static_cast<std::size_t>(one.key)])];
      side.weight += one.weight;
      for (std::size_t c = 0; c < columns; ++c) {
        const double term = one.weight * v.load(b, h_kv, one.key, static_cast<std::int64_t>(c));
        side.p_v[c] += term;
        side.p_abs_v[c] += std::fabs(term);
      }
    }
    double maximum = -std::numeric_limits<double>::infinity();
    for (const WeighedKey& one : keys) maximum = std::max(maximum, one.score);
    const double granted = static_cast<double>(keys.size()) + 3 * (std::fabs(lse) + std::fabs(maximum) + 20);
    double dominance = 0;
    const auto ranks = static_cast<std::int32_t>(sides.size());
    Side running = sides[static_cast<std::size_t>(rank_of_row)];
    for (std::int32_t step = 1; step < ranks; ++step) {
      const Side& other = sides[static_cast<std::size_t>((rank_of_row + ranks - step) % ranks)];
      if (running.weight > 0 && other.weight > 0) {
        const double share = std::max(running.weight, other.weight) / (running.weight + other.weight);
        dominance = std::max(dominance, share - 0.5);
        note_leverage(running, other, granted);
      }
      running.weight += other.weight;
      for (std::size_t c = 0; c < columns; ++c) {
        running.p_v[c] += other.p_v[c];
        running.p_abs_v[c] += other.p_abs_v[c];
      }
    }
    total_.merge_dominance += dominance;
  }

  void note_leverage(const Side& running, const Side& other, double granted) {
    for (std::size_t c = 0; c < running.p_v.size(); ++c) {
      const double merged = (running.p_abs_v[c] + other.p_abs_v[c]) / (running.weight + other.weight);
      const double lost_of = std::fabs(running.p_v[c]) / running.weight;
      if (merged > 0) leverages_.push(-lost_of / (merged * granted));
      if (leverages_.size() > 10) leverages_.pop();
    }
  }

  const Reference& reference_;
  const Problem& problem_;
  const Visibility visibility_;
  const std::int64_t tile_kv_;
  const bool merges_;
  std::vector<std::int32_t> owners_, owners_of_rows_;
  Coverage total_;
  double rows_ = 0, rows_with_edge_ = 0;
  std::priority_queue<double> leverages_;  // negated: the least of the ten largest on top
};

std::int64_t kv_groups_of(const Reference& reference) {
  const Problem& p = reference.c.problem;
  const std::vector<std::byte>& bytes = reference.inputs.v.bytes();
  if (p.heads_q == p.heads_kv || bytes.empty()) return 0;
  const auto head_bytes = static_cast<std::size_t>(p.seqlen_kv * p.head_dim_v) * size_bytes(p.dtype);
  std::set<std::string_view> values;
  for (std::int64_t h = 0; h < p.heads_kv; ++h) {
    values.emplace(reinterpret_cast<const char*>(bytes.data()) + static_cast<std::size_t>(h) * head_bytes, head_bytes);
  }
  return static_cast<std::int64_t>(values.size());
}

std::size_t class_of(std::int64_t visible_count) {
  if (visible_count <= 1) return static_cast<std::size_t>(visible_count);
  return visible_count <= 64 ? 2 : visible_count <= 1024 ? 3 : 4;
}

}  // namespace

Coverage coverage_of(const Reference& reference, std::int64_t tile_kv) {
  const Problem& p = reference.c.problem;
  const ForwardAnswer& want = reference.want;
  const std::size_t rows = want.row_count();
  const double products =
      static_cast<double>(std::max<std::int64_t>(p.seqlen_kv, 1)) * static_cast<double>(p.head_dim_qk + p.head_dim_v);
  const auto affordable = static_cast<std::size_t>(std::max(1.0, kProductsMax / products));
  const std::size_t looked_at = std::min(rows, affordable);
  RowCoverage measure(reference, tile_kv);
  for (std::size_t i = 0; i < looked_at; ++i) {
    const std::size_t index = i * rows / looked_at;
    measure.add(want.row_at(index), want.lse.value[index]);
  }
  Coverage coverage = measure.mean();
  coverage.kv_groups = kv_groups_of(reference);
  for (const RowScalars& row : want.statistics.rows) ++coverage.rows_by_count[class_of(row.visible_count)];
  return coverage;
}

Coverage both(const Coverage& one, const Coverage& other) {
  Coverage sum{std::max(one.rescale_mass, other.rescale_mass),
               std::max(one.edge_mass, other.edge_mass),
               one.tiles_partly_masked + other.tiles_partly_masked,
               std::max(one.kv_groups, other.kv_groups),
               std::max(one.merge_dominance, other.merge_dominance),
               std::max(one.merge_leverage, other.merge_leverage),
               one.rows_by_count};
  for (std::size_t i = 0; i < sum.rows_by_count.size(); ++i) sum.rows_by_count[i] += other.rows_by_count[i];
  return sum;
}

}  // namespace ringproof

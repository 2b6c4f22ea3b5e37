// With p_j = exp(S_j - L) of the exact answer, weights multiplied by m_j give
//
//   O' = (O + sum_j (m_j - 1) p_j v_j) / (1 + sum_j (m_j - 1) p_j),      L' = L + ln(1 + sum_j (m_j - 1) p_j),
//
// exactly, a sink included (it is part of L). So a fault at few keys costs few keys. Where the keys that go held nearly
// all of the row, the sum cancels, and the row is computed anew. Plain double is enough: what is wanted is how far a
// wrong answer lies from the right one, and the right one is the oracle's.

#include "reference/judge/altered_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kEdgeRows = 4;  // taken at either end, where masks and lengths have their corners

// `count` of `rows`: the first and last few, the others evenly between.
std::vector<std::int64_t> choose_rows(std::int64_t rows, std::int64_t count) {
  count = std::min(count, rows);
  const std::int64_t first = std::min(kEdgeRows, count / 2), last = std::min(kEdgeRows, count - first);
  const std::int64_t between = count - first - last;
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < first; ++i) chosen.push_back(i);
  for (std::int64_t i = 0; i < between; ++i) chosen.push_back(first + i * (rows - first - last) / between);
  for (std::int64_t i = 0; i < last; ++i) chosen.push_back(rows - last + i);
  return chosen;
}

std::vector<double> widened(const TensorView& view) {
  const auto [batches, heads, rows, columns] = view.shape;
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(element_count(view.shape)));
  for (std::int64_t b = 0; b < batches; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t s = 0; s < rows; ++s) {
        for (std::int64_t c = 0; c < columns; ++c) values.push_back(view.load(b, h, s, c));
      }
    }
  }
  return values;
}

Reference part_of(const Reference& whole, std::int64_t rows_max, std::int64_t work_max) {
  const Problem& p = whole.c.problem;
  const std::int64_t work_of_row = std::max<std::int64_t>(p.seqlen_kv * (p.head_dim_qk + p.head_dim_v), 1);
  const std::int64_t most = std::max<std::int64_t>(std::min(rows_max, work_max / work_of_row), 1);
  const auto rows = static_cast<std::int64_t>(whole.want.row_count());
  return {whole.c, whole.inputs, taken_rows(whole.want, p, choose_rows(rows, most)), whole.time_ms, whole.rows_drawn};
}

}  // namespace

AlteredRows::AlteredRows(const Reference& whole, std::int64_t rows_max, std::int64_t work_max)
    : part_(part_of(whole, rows_max, work_max)),
      visibility_(whole.c.problem),
      k_(widened(whole.inputs.k.view())),
      v_(widened(whole.inputs.v.view())) {
  const Problem& p = problem();
  const TensorView q = whole.inputs.q.view();
  keys_.resize(static_cast<std::size_t>(size()));
  dots_.resize(keys_.size());
  scores_.resize(keys_.size());
  for (std::int64_t at = 0; at < size(); ++at) {
    const auto [batch, head, row] = place(at);
    for (std::int64_t c = 0; c < p.head_dim_qk; ++c) q_.push_back(q.load(batch, head, row, c));
    for (const KeyRange& range : visibility_.ranges(row)) {
      for (std::int64_t key = range.begin; key < range.end; ++key) {
        keys_[static_cast<std::size_t>(at)].push_back(key);
        dots_[static_cast<std::size_t>(at)].push_back(dot(at, key, kv_head_of(at)));
        scores_[static_cast<std::size_t>(at)].push_back(scaled(dots_[static_cast<std::size_t>(at)].back()));
      }
    }
  }
  exact_.status = CallStatus::kReturned;
  exact_.has_lse = true;
  exact_.answers_every_row = false;
  exact_.time_ms = 0;
  exact_.out = Tensor(dtype_of_out(p.dtype), p.shape_out());
  exact_.lse = Tensor(dtype_of_lse(p.dtype), p.shape_lse());
  for (std::int64_t at = 0; at < size(); ++at) store(exact_, at, answer(at));
}

AlteredRows::Place AlteredRows::place(std::int64_t at) const {
  const Problem& p = problem();
  const std::int64_t row = part_.want.row_at(static_cast<std::size_t>(at));
  return {row / (p.heads_q * p.seqlen_q), row / p.seqlen_q % p.heads_q, row % p.seqlen_q};
}

std::int64_t AlteredRows::kv_head_of(std::int64_t at) const { return place(at).head / problem().heads_per_group(); }

void AlteredRows::store(Got& got, std::int64_t at, const RowAnswer& row) const {
  const auto [batch, head, query] = place(at);
  const TensorView out = got.out.view();
  for (std::int64_t c = 0; c < problem().head_dim_v; ++c) {
    out.store(batch, head, query, c, row.out[static_cast<std::size_t>(c)]);
  }
  got.lse.view().store(batch, head, query, 0, row.lse);
}

Got AlteredRows::answered(const std::function<std::optional<RowAnswer>(std::int64_t at)>& edit) const {
  Got got = exact_;
  for (std::int64_t at = 0; at < size(); ++at) {
    if (const std::optional<RowAnswer> row = edit(at)) store(got, at, *row);
  }
  return got;
}

double AlteredRows::scaled(double dot) const {
  const Problem& p = problem();
  const double score = p.softmax_scale * p.descale_q * p.descale_k * dot;
  return p.softcap > 0 ? p.softcap * std::tanh(score / p.softcap) : score;
}

double AlteredRows::dot(std::int64_t at, std::int64_t key, std::int64_t kv_head) const {
  const std::int64_t d = problem().head_dim_qk;
  const double* q = q_.data() + at * d;
  const double* k = k_.data() + ((place(at).batch * problem().heads_kv + kv_head) * problem().seqlen_kv + key) * d;
  double sum = 0;
  for (std::int64_t c = 0; c < d; ++c) sum += q[c] * k[c];
  return sum;
}

const double* AlteredRows::value_row(std::int64_t at, std::int64_t kv_head, std::int64_t key) const {
  const Problem& p = problem();
  return v_.data() + ((place(at).batch * p.heads_kv + kv_head) * p.seqlen_kv + key) * p.head_dim_v;
}

double AlteredRows::score(std::int64_t at, std::int64_t key, std::int64_t kv_head) const {
  return scaled(dot(at, key, kv_head));
}

std::vector<double> AlteredRows::scores_rescaled(std::int64_t at, double factor) const {
  std::vector<double> scores;
  for (const double one : dots_[static_cast<std::size_t>(at)]) scores.push_back(scaled(one * factor));
  return scores;
}

RowAnswer AlteredRows::answer(std::int64_t at) const {
  const std::int64_t dv = problem().head_dim_v;
  const auto from = part_.want.out.value.begin() + at * dv;
  return {{from, from + dv}, part_.want.lse.value[static_cast<std::size_t>(at)]};
}

RowAnswer AlteredRows::reweighed(std::int64_t at, std::span<const KeyChange> changes) const {
  RowAnswer row = answer(at);
  const std::int64_t kv_head = kv_head_of(at);
  const std::span<const std::int64_t> seen = keys(at);
  const auto score_of = [&](const KeyChange& change) {
    if (change.is_hidden) return score(at, change.key, kv_head);
    const auto found = std::lower_bound(seen.begin(), seen.end(), change.key);
    return scores(at)[static_cast<std::size_t>(found - seen.begin())];
  };
  double rest = 1;
  std::vector<double> added(row.out.size());
  for (const KeyChange& change : changes) {
    const double weight = std::exp(score_of(change) - row.lse) * (change.is_hidden ? change.factor : change.factor - 1);
    rest += weight;
    const double* v = value_row(at, kv_head, change.key);
    for (std::size_t c = 0; c < added.size(); ++c) added[c] += weight * problem().descale_v * v[c];
  }
  const bool cancels = !(0x1p-10 <= rest && rest <= 0x1p+100);
  if (!cancels) {
    for (std::size_t c = 0; c < added.size(); ++c) row.out[c] = (row.out[c] + added[c]) / rest;
    row.lse += std::log(rest);
    return row;
  }
  std::vector<std::int64_t> keys_after(seen.begin(), seen.end());
  std::vector<double> scores_after(scores(at).begin(), scores(at).end());
  for (const KeyChange& change : changes) {
    if (change.is_hidden) {
      keys_after.push_back(change.key);
      scores_after.push_back(score_of(change) + std::log(change.factor));
    } else {
      const auto found = std::lower_bound(seen.begin(), seen.end(), change.key) - seen.begin();
      scores_after[static_cast<std::size_t>(found)] += std::log(change.factor);
    }
  }
  return recomputed(at, keys_after, scores_after, kv_head);
}

RowAnswer AlteredRows::recomputed(std::int64_t at, std::span<const std::int64_t> keys, std::span<const double> scores,
                                  std::int64_t kv_head) const {
  const Problem& p = problem();
  RowAnswer row{std::vector<double>(static_cast<std::size_t>(p.head_dim_v)), -kInfinity};
  const double sink = p.has_sink ? part_.inputs.sink[static_cast<std::size_t>(place(at).head)] : -kInfinity;
  double maximum = sink;
  for (const double score : scores) maximum = std::max(maximum, score);
  if (maximum == -kInfinity) return row;
  double sum = std::exp(sink - maximum);
  for (std::size_t j = 0; j < keys.size(); ++j) {
    const double weight = std::exp(scores[j] - maximum);
    if (weight == 0) continue;
    sum += weight;
    const double* v = value_row(at, kv_head, keys[j]);
    for (std::size_t c = 0; c < row.out.size(); ++c) row.out[c] += weight * v[c];
  }
  for (double& value : row.out) value *= p.descale_v / sum;
  row.lse = maximum + std::log(sum);
  return row;
}

RowAnswer AlteredRows::scale_direction(std::int64_t at) const {
  const Problem& p = problem();
  const RowAnswer exact = answer(at);
  RowAnswer direction{std::vector<double>(exact.out.size()), 0};
  for (std::size_t j = 0; j < keys(at).size(); ++j) {
    const double score = scores(at)[j];
    // d S / d ln(scale): S itself, or with a softcap x (1 - tanh(x)^2) cap at x = artanh(S / cap).
    const double ratio = p.softcap > 0 ? score / p.softcap : 0;
    const bool is_saturated = std::fabs(ratio) >= 1;
    const double slope = p.softcap > 0 && !is_saturated ? p.softcap * std::atanh(ratio) * (1 - ratio * ratio) : score;
    const double weight = is_saturated ? 0 : std::exp(score - exact.lse) * slope;
    if (weight == 0) continue;
    direction.lse += weight;
    const double* v = value_row(at, kv_head_of(at), keys(at)[j]);
    for (std::size_t c = 0; c < exact.out.size(); ++c) {
      direction.out[c] += weight * (p.descale_v * v[c] - exact.out[c]);
    }
  }
  return direction;
}

}  // namespace ringproof

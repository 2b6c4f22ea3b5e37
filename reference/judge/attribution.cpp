// A matched filter (design: numerics.md section 9, point 10). If the weight of key j in row i is off by the factor
// 1 + x, then O_i moves by x p_ij (v_j - O_i), to first order. With E = error / sigma^2 and sums over columns
//
//   N = sum E t        Q = sum t^2 / sigma^2        D = Q + (r u_P)^2 p^4 (sum v (v - O) / sigma^2)^2
//
// of a template t, N / Q estimates x, N / sqrt(D) is its z-score, and N^2 / Q is what the template explains of
// chi^2 = sum (error / sigma)^2. Sums of N, Q and D over a set of (i, j) ask whether one x fits them all: the set is a
// key column, a diagonal j - i, or a tile of both; hidden keys take part with the weight they would have. Two more
// templates stand for the whole: O itself (every row scaled) and sum p (S - mean S) v (every score scaled); and -O
// exp(-L), a key of zeros that nobody should see. The set that explains most, if that is half of everything, is named
// by the sign and size of its x: -1 is a key dropped, +1 one counted twice or let in. A clean answer has z up to 7;
// kStandsOut = 12. Rows of equal weights share roundings: this diagnoses what is rejected already, and decides nothing.
//
// Besides, or where no template fits, the place is said: batch, head, rows, columns beyond which the residual is that
// of a correct kernel.

#include "reference/judge/attribution.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <vector>

#include "reference/judge/residual.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kStandsOut = 12;        // z
constexpr double kShareExplained = 0.5;  // of chi^2
constexpr double kShareOfTiles = 0.9;    // chance explains up to a quarter
constexpr double kProductsMax = 0x1p31;  // of rows looked at
constexpr std::int64_t kRowsOfTile = 16;
constexpr std::int64_t kKeysOfTile = 64;
constexpr double kExponentMax = 3;  // of a hidden key's weight: nothing is gained beyond

std::string number(double value, int digits) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return text.data();
}

struct Match {
  double n = 0, q = 0, d = 0;
  void add(double more_n, double more_q, double more_d) { n += more_n, q += more_q, d += more_d; }
  double amplitude() const { return n / q; }
  double z() const { return d == 0 ? 0 : std::fabs(n) / std::sqrt(d); }
  double explained() const { return q == 0 ? 0 : n * n / q; }
};

// One row at work.
struct RowAtWork {
  std::size_t row;
  std::int64_t batch, head, i;
  std::vector<double> score, weight;        // by key, hidden ones included
  std::vector<double> out, error, inverse;  // by column; inverse of sigma^2
  double chi_squared = 0;
};

class Attribution {
 public:
  Attribution(const Reference& reference, const Arithmetic& arithmetic, const Got& got)
      : reference_(reference), problem_(reference.c.problem), a_(arithmetic), got_(got), visibility_(problem_) {
    keys_.resize(static_cast<std::size_t>(problem_.seqlen_kv));
    diagonals_.resize(static_cast<std::size_t>(problem_.seqlen_kv + problem_.seqlen_q));
  }

  std::string out() {
    look();
    if (beyond_count_ > row_count_) {
      return "exceeds all values that rows see, in " + std::to_string(beyond_count_) + " rows";
    }
    if (chi_squared_ == 0) return "";
    const std::string where = place();
    is_everywhere_ = where.empty();
    const std::string what = cause();
    if (!what.empty()) return what + where;
    return where.empty() ? "" : "lies" + where.substr(1);
  }

 private:
  void look() {
    const std::size_t rows = reference_.want.lse.value.size();
    const double work = static_cast<double>(rows) * static_cast<double>(problem_.seqlen_kv) *
                        static_cast<double>(problem_.head_dim_qk + problem_.head_dim_v);
    const auto step = static_cast<std::size_t>(std::max(1.0, std::ceil(work / kProductsMax)));
    std::vector<RowAtWork> all;
    double off = 0;
    for (std::size_t row = 0; row < rows; row += step) {
      if (reference_.want.statistics.rows[row].visible_count == 0) continue;
      RowAtWork one{row};
      const auto [b, h, i] = place_of(reference_, row);
      one.batch = b, one.head = h, one.i = i;
      if (!read_errors(one)) continue;
      note_place(one);
      if (is_off(one)) off += one.chi_squared;
      all.push_back(one);
    }
    // A fault of some rows is asked of them alone; one that no single row shows, of all.
    const bool some_are_off = kShareExplained * chi_squared_ <= off;
    for (RowAtWork& one : all) {
      if (!some_are_off || is_off(one)) match(one);
    }
  }

  bool is_off(const RowAtWork& row) const {
    return row.chi_squared > kStandsOut * static_cast<double>(problem_.head_dim_v);
  }

  void match(RowAtWork& work) {
    read_errors(work);
    matched_ += work.chi_squared;
    weigh_keys(work);
    match_whole(work);
    match_tiles(work);
    std::vector<std::uint8_t> is_visible(static_cast<std::size_t>(problem_.seqlen_kv));
    for (const KeyRange& range : visibility_.ranges(work.i)) {
      std::fill(is_visible.begin() + range.begin, is_visible.begin() + range.end, 1);
    }
    for (std::int64_t j = 0; j < problem_.seqlen_kv; ++j) match_key(work, j, is_visible[static_cast<std::size_t>(j)]);
    work = {};
  }

  // False where the row holds what no residual can be formed of, or what no weights could make of the values it sees:
  // one such row would drown all others.
  bool read_errors(RowAtWork& work) {
    const TensorView out = got_.out.view();
    for (std::int64_t c = 0; c < problem_.head_dim_v; ++c) {
      const std::size_t at = work.row * static_cast<std::size_t>(problem_.head_dim_v) + static_cast<std::size_t>(c);
      const double want = reference_.want.out.value[at], got = out.load(work.batch, work.head, work.i, c);
      const double variance = sigma_squared(problem_, a_, reference_.want, work.row, at);
      const double reach = reference_.want.statistics.max_abs_v[at];
      if (!std::isfinite(want) || variance == 0) return false;
      if (!(std::fabs(got - want) <= 4 * reach)) {
        ++beyond_count_;
        return false;
      }
      work.out.push_back(want);
      work.error.push_back(got - want);
      work.inverse.push_back(1 / variance);
    }
    return true;
  }

  void weigh_keys(RowAtWork& work) {
    const TensorView q = reference_.inputs.q.view(), k = reference_.inputs.k.view();
    const std::int64_t h_kv = work.head / problem_.heads_per_group();
    const double scale = problem_.softmax_scale * problem_.descale_q * problem_.descale_k;
    std::vector<double> query;
    for (std::int64_t c = 0; c < problem_.head_dim_qk; ++c) query.push_back(q.load(work.batch, work.head, work.i, c));
    for (std::int64_t j = 0; j < problem_.seqlen_kv; ++j) {
      double dot = 0;
      for (std::size_t c = 0; c < query.size(); ++c) {
        dot += query[c] * k.load(work.batch, h_kv, j, static_cast<std::int64_t>(c));
      }
      const double plain = scale * dot;
      const double score = problem_.softcap > 0 ? problem_.softcap * std::tanh(plain / problem_.softcap) : plain;
      work.score.push_back(score);
      work.weight.push_back(std::exp(std::min(score - reference_.want.lse.value[work.row], kExponentMax)));
    }
  }

  void note_place(RowAtWork& work) {
    double sum = 0;
    columns_.resize(work.error.size());
    for (std::size_t c = 0; c < work.error.size(); ++c) {
      const double share = work.error[c] * work.error[c] * work.inverse[c];
      columns_[c] += share;
      sum += share;
    }
    work.chi_squared = sum;
    work.out.clear(), work.error.clear(), work.inverse.clear();
    batches_[work.batch] += sum;
    heads_[work.head] += sum;
    rows_[work.i] += sum;
    chi_squared_ += sum;
    ++row_count_;
  }

  double value(const RowAtWork& work, std::int64_t j, std::size_t c) const {
    const std::int64_t h_kv = work.head / problem_.heads_per_group();
    return problem_.descale_v * reference_.inputs.v.view().load(work.batch, h_kv, j, static_cast<std::int64_t>(c));
  }

  void match_whole(const RowAtWork& work) {
    double mean = 0, seen = 0;
    const std::vector<KeyRange> ranges = visibility_.ranges(work.i);
    std::vector<double> slope(work.out.size());
    for (const int pass : {0, 1}) {
      for (const KeyRange& range : ranges) {
        for (std::int64_t j = range.begin; j < range.end; ++j) {
          const double p = work.weight[static_cast<std::size_t>(j)], score = work.score[static_cast<std::size_t>(j)];
          if (pass == 0) mean += p * score, seen += p;
          if (pass == 0) continue;
          for (std::size_t c = 0; c < slope.size(); ++c) slope[c] += p * (score - mean / seen) * value(work, j, c);
        }
      }
    }
    const double zero_key = std::exp(std::min(-reference_.want.lse.value[work.row], kExponentMax));
    for (std::size_t c = 0; c < work.out.size(); ++c) {
      const auto match = [&](Match& sum, double t) {
        sum.add(work.error[c] * t * work.inverse[c], t * t * work.inverse[c], t * t * work.inverse[c]);
      };
      match(out_scaled_, work.out[c]);
      match(scores_scaled_, slope[c]);
      match(zero_keys_, -zero_key * work.out[c]);
    }
  }

  // Each tile of keys with a factor of the row's own: least squares by orthogonal vectors, of at most a quarter as many
  // factors as there are columns to fit. Uncentred, since O may miss a rescale that l had; together they make O.
  void match_tiles(const RowAtWork& work) {
    const std::int64_t tiles = (problem_.seqlen_kv + kKeysOfTile - 1) / kKeysOfTile;
    if (4 * tiles > problem_.head_dim_v) return;
    std::vector<std::vector<double>> base;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      std::vector<double> t(work.out.size());
      for (const KeyRange& range : visibility_.ranges(work.i)) {
        const std::int64_t end = std::min(range.end, (tile + 1) * kKeysOfTile);
        for (std::int64_t j = std::max(range.begin, tile * kKeysOfTile); j < end; ++j) {
          for (std::size_t c = 0; c < t.size(); ++c) {
            t[c] += work.weight[static_cast<std::size_t>(j)] * value(work, j, c);
          }
        }
      }
      const auto project = [&](const std::vector<double>& from, const std::vector<double>& on) {
        double sum = 0;
        for (std::size_t c = 0; c < on.size(); ++c) sum += from[c] * on[c] * work.inverse[c];
        return sum;
      };
      const double before = project(t, t);
      for (const std::vector<double>& one : base) {
        const double share = project(t, one);
        for (std::size_t c = 0; c < t.size(); ++c) t[c] -= share * one[c];
      }
      const double length = project(t, t);
      if (!(length > 1e-6 * before)) continue;  // what the tiles before it can do already
      for (double& x : t) x /= std::sqrt(length);
      const double share = project(work.error, t);
      by_row_and_tile_ += share * share;
      base.push_back(std::move(t));
    }
  }

  void match_key(const RowAtWork& work, std::int64_t j, bool visible) {
    const double p = work.weight[static_cast<std::size_t>(j)];
    double n = 0, g = 0, h = 0;
    for (std::size_t c = 0; c < work.out.size(); ++c) {
      const double v = value(work, j, c), apart = v - work.out[c], scaled = apart * work.inverse[c];
      n += work.error[c] * scaled;
      g += apart * scaled;
      h += v * scaled;
    }
    const double rms = cast_of_p(a_).relative / std::sqrt(8 * std::log(2.0));
    const double q = p * p * g, d = q + rms * rms * p * p * p * p * h * h;
    if (visible) keys_[static_cast<std::size_t>(j)].add(p * n, q, d);
    if (!visible) hidden_.add(p * n, q, d);
    diagonals_[static_cast<std::size_t>(j - work.i + problem_.seqlen_q)].add(p * n, q, d);
    tiles_[{work.batch, work.head, work.i / kRowsOfTile, j / kKeysOfTile}].add(p * n, q, d);
  }

  bool names(const Match& match) const {
    return match.z() > kStandsOut && match.explained() >= kShareExplained * matched_;
  }

  std::string cause() const {
    std::string text;
    double best = 0;
    const auto offer = [&](const Match& match, const std::function<std::string()>& say) {
      if (!names(match) || match.explained() <= best) return;
      best = match.explained();
      text = say();
    };
    for (std::size_t j = 0; j < keys_.size(); ++j) offer(keys_[j], [&] { return say_key(j); });
    for (std::size_t at = 0; at < diagonals_.size(); ++at) {
      offer(diagonals_[at],
            [&] { return say_diagonal(static_cast<std::int64_t>(at) - problem_.seqlen_q, diagonals_[at]); });
    }
    // The hidden keys hold every diagonal and key of theirs: what is named already is named better.
    if (text.empty())
      offer(hidden_, [&] { return "lies on keys that their rows must not see: the mask is not applied"; });
    offer(out_scaled_, [&] { return "is O itself: every row scaled by " + number(1 + out_scaled_.amplitude(), 4); });
    // Where L varies little both say the same, up to roundings of this sum, and the plainer word is better.
    const double left_by_zeros = matched_ - zero_keys_.explained(), left_by_factor = matched_ - out_scaled_.explained();
    if (2 * left_by_zeros + 0x1p-20 * matched_ < left_by_factor) {
      offer(zero_keys_, [&] {
        return "is that of keys of zeros that take part: " + number(zero_keys_.amplitude(), 2) + " unmasked padding";
      });
    }
    offer(scores_scaled_,
          [&] { return "is that of scores scaled by about " + number(1 + scores_scaled_.amplitude(), 3); });
    if (!text.empty()) return text;
    if (kShareOfTiles * matched_ <= by_row_and_tile_) {
      return "follows whole tiles of keys, with factors of each row's own: a rescale missing, stale or wrong";
    }
    return say_tiles();
  }

  static std::string say_weight(double amplitude) {
    if (amplitude <= -0.75) return "dropped";
    if (0.5 <= amplitude && amplitude <= 1.5) return "counted twice";
    return "weight off by " + number(100 * amplitude, 2) + " %";
  }

  std::string say_key(std::size_t j) const {
    const bool is_tail = j + 1 == keys_.size();
    const double x = keys_[j].amplitude();
    const std::string state = say_weight(x);
    const std::string key = is_tail ? "tail key" : "key";
    return "concentrates on key " + std::to_string(j) + (is_everywhere_ ? " in all rows: " : ": ") +
           (state.front() == 'w' ? "its " + state : "a " + key + " " + state);
  }

  std::string say_diagonal(std::int64_t diagonal, const Match& match) const {
    const std::string place = "lies on the diagonal j - i = " + std::to_string(diagonal) + ": ";
    const MaskKind kind = problem_.mask.kind;
    const bool banded = kind != MaskKind::kDocument && kind != MaskKind::kBlockSparse;
    if (banded) {
      const Band band = band_of(problem_.mask, problem_.seqlen_q, problem_.seqlen_kv);
      const bool beyond = diagonal == band.hi + 1 || diagonal == band.lo - 1;
      const bool within = diagonal == band.hi || diagonal == band.lo;
      if (beyond) return place + "a mask edge one key too far";
      if (within && match.amplitude() < -0.5) return place + "a mask edge one key too short";
    }
    return place + "keys " + say_weight(match.amplitude());
  }

  // Many tiles, each with a factor of its own.
  std::string say_tiles() const {
    double explained = 0;
    const std::pair<const std::array<std::int64_t, 4>, Match>* worst = nullptr;
    for (const auto& tile : tiles_) {
      if (!(tile.second.z() > kStandsOut)) continue;
      explained += tile.second.explained();
      if (worst == nullptr || tile.second.explained() > worst->second.explained()) worst = &tile;
    }
    if (worst == nullptr || explained < kShareExplained * matched_) return "";
    const std::int64_t row = worst->first[2] * kRowsOfTile, key = worst->first[3] * kKeysOfTile;
    return "follows whole tiles, most of all rows " + std::to_string(row) + ".." +
           std::to_string(std::min(row + kRowsOfTile, problem_.seqlen_q) - 1) + " by keys " + std::to_string(key) +
           ".." + std::to_string(std::min(key + kKeysOfTile, problem_.seqlen_kv) - 1) +
           ": stale, skipped or wrongly rescaled keys";
  }

  // Where chi^2 is that of a fault, if that is not everywhere. A correct kernel's row adds about one a column.
  std::string place() const {
    std::string text;
    const double columns = static_cast<double>(problem_.head_dim_v);
    if (const auto only = alone(batches_); only >= 0) text += ", in batch " + std::to_string(only) + " only";
    if (const auto only = alone(heads_); only >= 0) text += ", in head " + std::to_string(only) + " only";
    const double clean = kStandsOut * columns * static_cast<double>(row_count_) / static_cast<double>(rows_.size());
    std::int64_t first = -1, last = -1;
    std::size_t count = 0;
    for (const auto& [row, share] : rows_) {
      if (share <= clean) continue;
      if (first < 0) first = row;
      last = row;
      ++count;
    }
    if (0 <= first && 10 * count <= 9 * rows_.size() && 10 * (last - first + 1) <= 9 * problem_.seqlen_q) {
      text += first == last ? ", in row " + std::to_string(first) + " only"
                            : ", in rows " + std::to_string(first) + ".." + std::to_string(last) + " only";
    }
    return text + column_place(kStandsOut * static_cast<double>(row_count_));
  }

  std::string column_place(double clean) const {
    std::size_t first = columns_.size(), last = 0, count = 0;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c] <= clean) continue;
      first = std::min(first, c), last = c, ++count;
    }
    if (count == 0 || 2 * (last - first + 1) > columns_.size()) return "";
    return first == last ? ", in column " + std::to_string(first) + " only"
                         : ", in columns " + std::to_string(first) + ".." + std::to_string(last) + " only";
  }

  // The one place that holds all but a hundredth, of at least two; else -1.
  std::int64_t alone(const std::map<std::int64_t, double>& places) const {
    for (const auto& [place, share] : places) {
      if (places.size() >= 2 && 0.99 * chi_squared_ <= share) return place;
    }
    return -1;
  }

  const Reference& reference_;
  const Problem& problem_;
  const Arithmetic& a_;
  const Got& got_;
  Visibility visibility_;
  std::vector<Match> keys_, diagonals_;  // by key; by j - i + seqlen_q
  Match hidden_, out_scaled_, scores_scaled_, zero_keys_;
  std::map<std::array<std::int64_t, 4>, Match> tiles_;  // by batch, head, row tile, key tile
  std::map<std::int64_t, double> batches_, heads_, rows_;
  std::vector<double> columns_;
  double chi_squared_ = 0, matched_ = 0;  // of all rows; of those that templates are held to
  double by_row_and_tile_ = 0;            // of matched_, explained by a factor for every row and tile of keys
  bool is_everywhere_ = true;
  std::int64_t row_count_ = 0, beyond_count_ = 0;
};

// Whether one number fits all: their spread is at most a hundredth of `size`.
bool spreads_little(double sum_of_squares, double mean, double count, double size) {
  return sum_of_squares / count - mean * mean <= 1e-4 * size * size;
}

// One number that is added to every lse, or multiplies it, or the maximum left out.
std::string lse_cause(const Reference& reference, const Got& got) {
  const TensorView lse = got.lse.view();
  double count = 0, constant = 0, constant_squares = 0, ratio = 0, ratio_squares = 0, maximum = 0, maximum_squares = 0;
  for (std::size_t row = 0; row < reference.want.lse.value.size(); ++row) {
    const auto [b, h, i] = place_of(reference, row);
    const double want = reference.want.lse.value[row], value = lse.load(b, h, i, 0);
    const double score_max = reference.want.statistics.rows[row].score_max;
    if (!std::isfinite(want) || !std::isfinite(value) || want == 0 || score_max == 0) continue;
    ++count;
    constant += value - want, constant_squares += (value - want) * (value - want);
    ratio += value / want, ratio_squares += value / want * (value / want);
    maximum += (want - value) / score_max, maximum_squares += (want - value) / score_max * ((want - value) / score_max);
  }
  if (count < 2) return "";
  constant /= count, ratio /= count, maximum /= count;
  if (constant != 0 && spreads_little(constant_squares, constant, count, constant)) {
    return "lse is off by a constant " + number(constant, 3);
  }
  if (ratio != 1 && spreads_little(ratio_squares, ratio, count, ratio - 1)) {
    const bool base_two = std::fabs(ratio * std::log(2.0) - 1) <= 0.01;
    return "lse is scaled by " + number(ratio, 4) + (base_two ? ": base 2" : "");
  }
  if (maximum != 0 && spreads_little(maximum_squares, maximum, count, maximum)) {
    return "lse lacks " + number(maximum, 3) + " of the row's maximum";
  }
  return "";
}

bool is_outside(const std::vector<TensorEvidence>& tensors, const std::string& name) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const TensorEvidence& one) { return one.name == name && one.count_outside > 0; });
}

}  // namespace

std::string attribution_of(const Reference& reference, const Arithmetic& arithmetic, const Got& got,
                           const Evidence& evidence) {
  // NaN that is right or missing would drown every sum.
  if (evidence.status != CallStatus::kReturned || reference.inputs_with_special) return "";
  const bool by_noise = evidence.noise.is_judged &&
                        !(noise_is_accepted(evidence.noise.all_heads) && noise_is_accepted(evidence.noise.worst_head));
  const bool by_bias = evidence.bias.is_judged && !bias_is_accepted(evidence.bias.sums, evidence.bias.limit);
  const bool by_draws = evidence.is_independent && is_outside(evidence.probabilistic, "out");
  const bool by_bound = is_outside(evidence.tensors, "out") || evidence.by_value.count_outside > 0;
  std::string phrase;
  if (by_noise || by_bias || by_draws || by_bound) {
    phrase = Attribution(reference, arithmetic, got).out();
    if (!phrase.empty()) phrase = "residual " + phrase;
  }
  if (!is_outside(evidence.tensors, "lse")) return phrase;
  const std::string lse = lse_cause(reference, got);
  return phrase + (phrase.empty() || lse.empty() ? "" : "; ") + lse;
}

}  // namespace ringproof

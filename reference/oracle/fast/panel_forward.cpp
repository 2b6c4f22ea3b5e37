// Attention by the online softmax on a panel of rows, one block of keys after the other, with everything that bounds
// want in the same pass:
//
//   scores     S, capped, and D = |q| . |k|; hidden keys become -inf and 0
//   weights    M = the larger of M and the block's maximum, r = exp(M before - M), w = exp(S - M); sums of w, w D, ...
//   values     sum w v = r sum w v + the block's, in double; sum w |v|, w (v - c)^2, w^2 v^2, w^2 v in single precision
//   sink       joins at the end: one more key, of value 0
//   rises      the scores of a segment of keys are kept in single precision, row by row, and counted at its end
//
// A block's sum starts at 0 and joins the older one, so that a term passes about 128 + n / 128 additions. Weights of
// hidden keys are 0, and 0 adds exactly. Differences of scores in single precision are wrong by 2^-24 of a score; ties
// are widened by that.
//
// sum p (v - O)^2 is, with the sink's weight p_s (the weights of the keys add up to 1 - p_s, and O = sum p v),
//   sum p (v - c)^2 - (1 + p_s) (O - c)^2 - 2 p_s c (O - c)
// for any c, and at most (1 - p_s - p_max) (2 max |v|)^2 + (p_s max |v|)^2 (about the heaviest key's v instead of the
// keys' mean, which lies p_s of itself from O): the first cancels where one key has all the weight, the second says
// little elsewhere.
//
// Raising: fast_rounding.cpp says by how much sums of positive terms, and of products of words, may fall short.

#include "reference/oracle/fast/panel_forward.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/oracle/fast/fast_forward.h"
#include "reference/oracle/rises.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kInfinitySingle = std::numeric_limits<float>::infinity();
constexpr double kUnit = 0x1p-53;
constexpr double kLostSingle = 0x1p-123;  // a term, in units: the weight, the value, the product and the sum may vanish
constexpr double kLostDouble = 0x1p-990;  // p gap^2 of a weight that vanished

double squared(double x) { return x * x; }

// No more than sum p (v - c)^2 - sum p (v - O)^2 is, O being wrong by `error` sum p |v|, the sink's p by `error` of it.
double least_drop(double out, double centre, double error, double p_abs_v, const RowScalars& row) {
  const double x = out - centre, apart = error * p_abs_v + 2 * kUnit * (std::fabs(out) + std::fabs(centre));
  const double square = squared(std::max(0.0, std::fabs(x) - apart));
  const double cross = 2 * row.p_sink * centre * x, least_of_sink = row.p_sink * (1 - error);
  const double lost = 2 * row.p_sink * std::fabs(centre) * (apart + error * (std::fabs(x) + apart));
  const double drop = (1 + least_of_sink) * square + cross - lost;
  return drop - 8 * kUnit * (2 * square + std::fabs(cross) + lost);
}

}  // namespace

void Panel::grow(const PanelContext& context) {
  context_ = &context;
  const std::int64_t width = context.kernels.queries, groups = groups_of(context.head.head_dim_v);
  if (static_cast<std::int64_t>(lanes_.size()) != width) {
    lanes_.assign(static_cast<std::size_t>(width), {});
    sums_ = aligned_zeros<double>(PanelSums::kDoubles * width);
    singles_ = aligned_zeros<float>(PanelSums::kSingles * width);
    head_dim_ = groups_room_ = -1;
  }
  if (context.head.head_dim_qk > head_dim_) {
    head_dim_ = context.head.head_dim_qk;
    q_ = aligned_zeros<double>(head_dim_ * width);
    q_abs_ = aligned_zeros<Word>(head_dim_ * width);
  }
  if (groups > groups_room_) {
    groups_room_ = groups;
    out_ = aligned_zeros<double>(groups * kGroup * width);
    for (auto* single : {&p_abs_v_, &p_centred_v2_, &p2_v2_, &p2_v_}) {
      *single = aligned_zeros<float>(groups * kGroup * width);
    }
  }
  groups_ = groups;
}

PanelSums Panel::sums() const {
  const std::int64_t width = context_->kernels.queries;
  double* const s = sums_.get();
  float* const f = singles_.get();
  return {s,
          s + width,
          s + 2 * width,
          s + 3 * width,
          s + 4 * width,
          s + 5 * width,
          s + 6 * width,
          s + 7 * width,
          s + 8 * width,
          s + 9 * width,
          f,
          f + width};
}

bool Panel::begin(const PanelContext& context, const ForwardAnswer& answer, std::int64_t first, std::int64_t last,
                  PanelScratch& scratch) {
  grow(context);
  scratch_ = &scratch;
  if (!scratch.score) {
    scratch.score = aligned_zeros<double>(kBlockKeys * context.kernels.queries);
    scratch.d = aligned_zeros<float>(kBlockKeys * context.kernels.queries);
    scratch.weight = aligned_zeros<Word>(kBlockKeys * context.kernels.queries);
    scratch.weight_squared = aligned_zeros<Word>(kBlockKeys * context.kernels.queries);
  }
  const std::int64_t width = context.kernels.queries, n = context.problem.seqlen_q, elements = groups_ * kGroup;
  rows_ = last - first;
  const PanelSums sums = this->sums();
  std::fill_n(sums_.get(), PanelSums::kDoubles * width, 0.0);
  std::fill_n(sums.score_max, width, kNoScore);
  std::fill_n(sums.score_min, width, kInfinity);
  std::fill_n(out_.get(), elements * width, 0.0);
  std::int64_t least = context.problem.seqlen_kv, largest = 0, lists = 0;
  for (const auto& shard : context.shards) lists += shard.size() > 1 ? static_cast<std::int64_t>(shard.size()) + 1 : 1;
  for (std::int64_t i = 0; i < width; ++i) {
    Lane& lane = lanes_[static_cast<std::size_t>(i)];
    lane.row = first + std::min(i, rows_ - 1);
    lane.seen = context.visibility.ranges(answer.row_at(static_cast<std::size_t>(lane.row)) % n);
    lane.k_abs_max = 0;
    lane.pieces.assign(context.with_statistics ? static_cast<std::size_t>(lists) : 0, {});
    if (lane.seen.empty()) continue;
    least = std::min(least, lane.seen.front().begin);
    largest = std::max(largest, lane.seen.back().end);
  }
  blocks_begin_ = least / kBlockKeys;
  blocks_end_ = std::max(blocks_begin_, blocks_of(largest));
  single_segment_ = blocks_begin_ / kSegmentBlocks == std::max(blocks_begin_, blocks_end_ - 1) / kSegmentBlocks;
  kept_until_ = blocks_begin_;
  if (context.with_statistics) {
    for (auto* single : {&p_abs_v_, &p_centred_v2_, &p2_v2_, &p2_v_}) {
      std::fill_n(single->get(), elements * width, 0.0f);
    }
    v_sums_.assign(static_cast<std::size_t>((width + 1) * elements), 0);
    v_maxima_.assign(v_sums_.size(), 0);
    k_abs_max_of_all_ = 0;
  }
  return pack(answer);
}

bool Panel::pack(const ForwardAnswer& answer) {
  const Problem& problem = context_->problem;
  const PanelKernels& kernels = context_->kernels;
  const std::int64_t width = kernels.queries, d = problem.head_dim_qk, n = problem.seqlen_q;
  const Aligned<double> row = aligned_zeros<double>(row_room(d));
  double largest = 0, d_cap_max = 0;
  bool is_finite = true;
  for (std::int64_t i = 0; i < width; ++i) {
    Lane& lane = lanes_[static_cast<std::size_t>(i)];
    const std::int64_t at = answer.row_at(static_cast<std::size_t>(lane.row));
    decode_row(context_->q, at / n / problem.heads_q, at / n % problem.heads_q, at % n, problem.descale_q, row.get());
    double sum = 0, d_cap = 0;
    for (std::int64_t c = 0; c < d; ++c) {
      q_[kernels.place(c, d, i)] = row[c];
      sum += std::fabs(row[c]);
      d_cap += std::fabs(row[c]) * context_->head.k_channel_max[c];
      largest = std::max(largest, std::fabs(row[c]));
    }
    is_finite = is_finite && std::isfinite(sum);
    lane.q_abs_sum = sum;
    lane.d_cap = d_cap * (1 + static_cast<double>(d + 2) * kUnit);
    d_cap_max = std::max(d_cap_max, lane.d_cap);
  }
  q_unit_ = unit_of(largest);
  score_unit_ = unit_of(d_cap_max * std::fabs(problem.softmax_scale));
  if (context_->with_statistics) pack_magnitudes(row.get());
  return is_finite;
}

// `row`: room for a row, 0 behind its last number.
void Panel::pack_magnitudes(double* row) {
  const PanelKernels& kernels = context_->kernels;
  const std::int64_t d = context_->problem.head_dim_qk, words = kernels.words(d);
  const Aligned<Word> magnitudes = aligned_zeros<Word>(row_room(d));
  for (std::int64_t i = 0; i < kernels.queries; ++i) {
    for (std::int64_t c = 0; c < d; ++c) row[c] = q_[kernels.place(c, d, i)];
    context_->packing.magnitude_words(row, d, 1 / q_unit_, magnitudes.get());
    for (std::int64_t word = 0; word < words; ++word) q_abs_[word * kernels.queries + i] = magnitudes[word];
  }
}

bool Panel::sees(std::int64_t block) const {
  const std::int64_t begin = block * kBlockKeys, end = begin + kBlockKeys;
  return std::any_of(lanes_.begin(), lanes_.end(), [&](const Lane& lane) {
    return std::any_of(lane.seen.begin(), lane.seen.end(),
                       [&](const KeyRange& keys) { return keys.begin < end && begin < keys.end; });
  });
}

// Hides what a lane does not see. True where every lane sees every key of the block.
bool Panel::hide(std::int64_t block) {
  const std::int64_t width = context_->kernels.queries, begin = block * kBlockKeys, end = begin + kBlockKeys;
  bool all_see_all = true;
  for (std::int64_t i = 0; i < width; ++i) {
    std::int64_t hidden_from = begin;
    const auto hide_until = [&](std::int64_t key) {
      for (; hidden_from < key; ++hidden_from) {
        scratch_->score[context_->kernels.place(hidden_from - begin, kBlockKeys, i)] = -kInfinity;
        scratch_->d[(hidden_from - begin) * width + i] = 0;
        all_see_all = false;
      }
    };
    for (const KeyRange& keys : lanes_[static_cast<std::size_t>(i)].seen) {
      if (keys.end <= begin) continue;
      if (keys.begin >= end) break;
      hide_until(keys.begin);
      hidden_from = std::min(keys.end, end);
    }
    hide_until(end);
  }
  return all_see_all;
}

void Panel::take(std::int64_t block, const PackedBlock& packed) {
  const FlushSubnormals flush;  // not where storage is decoded: its subnormals count
  const PanelKernels& kernels = context_->kernels;
  const bool with = context_->with_statistics;
  const PanelSums sums = this->sums();
  const std::int64_t halves = rows_ <= kernels.half ? 1 : 2;  // lanes beyond the rows answer nothing
  kernels.scores(q_.get(), packed.k, packed.k_stride, context_->problem.head_dim_qk, context_->problem.softmax_scale,
                 halves, scratch_->score.get());
  if (context_->problem.softcap != 0) kernels.cap(scratch_->score.get(), halves, context_->problem.softcap);
  if (with) {
    kernels.magnitudes(q_abs_.get(), packed.k_abs, packed.k_abs_stride, kernels.words(context_->problem.head_dim_qk),
                       scratch_->d.get());
  }
  const bool all_see_all = hide(block);
  if (with) {
    keep_scores(block);
    take_magnitudes(block, packed, all_see_all);
  }
  kernels.weights(scratch_->score.get(), with ? scratch_->d.get() : nullptr, scratch_->weight.get(),
                  scratch_->weight_squared.get(), halves, sums);
  kernels.values(scratch_->score.get(), packed.v, groups_, sums.rescale, halves, out_.get());
  if (!with) return;
  const Word *w = scratch_->weight.get(), *w2 = scratch_->weight_squared.get();
  kernels.values_single(w, packed.v_abs, groups_, sums.rescale_single, p_abs_v_.get());
  kernels.values_single(w, packed.v_centred_squared, groups_, sums.rescale_single, p_centred_v2_.get());
  kernels.values_single(w2, packed.v_squared, groups_, sums.rescale_squared, p2_v2_.get());
  kernels.values_single(w2, packed.v_single, groups_, sums.rescale_squared, p2_v_.get());
}

// Sums and maxima of what the lanes see of a block of K and V.
void Panel::take_magnitudes(std::int64_t block, const PackedBlock& packed, bool all_see_all) {
  const std::int64_t width = context_->kernels.queries, elements = groups_ * kGroup, begin = block * kBlockKeys;
  const auto take_range = [&](std::int64_t lane, std::int64_t from, std::int64_t to, double& k_abs_max) {
    double* const sums = v_sums_.data() + lane * elements;
    double* const maxima = v_maxima_.data() + lane * elements;
    for (std::int64_t j = from; j < to; ++j) k_abs_max = std::max(k_abs_max, packed.k_abs_sum[j]);
    for (std::int64_t j = from; j < to;) {
      if (j % PackedBlock::kSumKeys == 0 && j + PackedBlock::kSumKeys <= to) {
        const std::int64_t part = j / PackedBlock::kSumKeys * elements;
        for (std::int64_t c = 0; c < elements; ++c) {
          sums[c] += packed.v_sums[part + c];
          maxima[c] = std::max(maxima[c], packed.v_maxima[part + c]);
        }
        j += PackedBlock::kSumKeys;
      } else {
        for (std::int64_t c = 0; c < elements; ++c) {
          const double magnitude = std::fabs(packed.v[(c / kGroup * kBlockKeys + j) * kGroup + c % kGroup]);
          sums[c] += magnitude;
          maxima[c] = std::max(maxima[c], magnitude);
        }
        ++j;
      }
    }
  };
  if (all_see_all) {
    take_range(width, 0, kBlockKeys, k_abs_max_of_all_);
    return;
  }
  for (std::int64_t i = 0; i < rows_; ++i) {
    Lane& lane = lanes_[static_cast<std::size_t>(i)];
    for (const KeyRange& keys : lane.seen) {
      const std::int64_t from = std::max<std::int64_t>(keys.begin - begin, 0),
                         to = std::min(keys.end - begin, kBlockKeys);
      if (from < to) take_range(i, from, to, lane.k_abs_max);
    }
  }
}

std::int64_t Panel::kept_from(std::int64_t segment) const { return std::max(blocks_begin_, segment * kSegmentBlocks); }

// Scores of the block, row by row and scaled to at most 1; -inf for blocks that no row sees.
void Panel::keep_scores(std::int64_t block) {
  const std::int64_t width = context_->kernels.queries, segment = block / kSegmentBlocks, from = kept_from(segment);
  const std::int64_t until = std::min(blocks_end_, (segment + 1) * kSegmentBlocks);
  // Rows lie an odd number of cache lines apart, so that they do not share their places in the cache.
  score_stride_ = (until - from) * kBlockKeys + 16;
  const auto room = static_cast<std::size_t>(score_stride_ * width);
  if (scratch_->row_scores.size() < room) scratch_->row_scores.resize(room);
  skip_scores(from, block);
  context_->kernels.transpose(scratch_->score.get(), 1 / score_unit_,
                              scratch_->row_scores.data() + (block - from) * kBlockKeys, score_stride_);
  kept_until_ = block + 1;
}

void Panel::skip_scores(std::int64_t from, std::int64_t until) {
  kept_until_ = std::max(kept_until_, from);
  for (; kept_until_ < until; ++kept_until_) {
    for (std::int64_t i = 0; i < context_->kernels.queries; ++i) {
      std::fill_n(scratch_->row_scores.data() + i * score_stride_ + (kept_until_ - from) * kBlockKeys, kBlockKeys,
                  -kInfinitySingle);
    }
  }
}

double Panel::d_unit() const { return q_unit_ * context_->head.k_unit; }

double Panel::d_max_of(std::int64_t i) const {
  const std::int64_t terms = context_->problem.head_dim_qk + 8;
  return sums().d_max[i] * d_unit() * raise_of_sum(terms, context_->kernels.word_roundoff());
}

// In units of the scores that are kept: what near_tie says, rounding to single precision twice and adding there.
float Panel::tie_of(std::int64_t i) const {
  const Problem& problem = context_->problem;
  const double d_max = single_segment_ ? d_max_of(i) : lanes_[static_cast<std::size_t>(i)].d_cap;
  const double tie = near_tie(problem.head_dim_qk, problem.softmax_scale, d_max, problem.softcap) +
                     3 * 0x1p-24 * std::fabs(problem.softmax_scale) * d_max;
  return std::nextafter(static_cast<float>(tie * (1 + 0x1p-20) / score_unit_), kInfinitySingle);
}

void Panel::end_segment(std::int64_t segment) {
  if (!context_->with_statistics) return;
  const std::int64_t from = kept_from(segment);
  if (kept_until_ <= from) return;  // no row sees a key of it
  const std::int64_t until = std::min(blocks_end_, (segment + 1) * kSegmentBlocks);
  skip_scores(from, until);
  const std::int64_t keys = (until - from) * kBlockKeys;
  const auto scores_of = [&](std::int64_t i) { return scratch_->row_scores.data() + i * score_stride_; };
  if (context_->shards.size() == 1) {
    for (std::int64_t i = 0; i < rows_; i += 2) {
      const std::int64_t j = std::min(i + 1, rows_ - 1);
      const auto rises =
          count_pieces(context_->kernels, {Piece{scores_of(i), keys, tie_of(i)}, Piece{scores_of(j), keys, tie_of(j)}},
                       scratch_->rises);
      lanes_[static_cast<std::size_t>(i)].pieces[0].push_back(rises[0]);
      if (j != i) lanes_[static_cast<std::size_t>(j)].pieces[0].push_back(rises[1]);
    }
    return;
  }
  for (std::int64_t i = 0; i < rows_; ++i) count_in_shards(i, scores_of(i), from * kBlockKeys, keys);
}

// Each run of a shard alone, and a shard of several as a whole.
void Panel::count_in_shards(std::int64_t i, const float* scores, std::int64_t first_key, std::int64_t keys) {
  std::size_t list = 0;
  const auto count = [&](std::vector<float> run) {
    run.resize(static_cast<std::size_t>((static_cast<std::int64_t>(run.size()) + kThinnedKeys - 1) / kThinnedKeys *
                                        kThinnedKeys),
               -kInfinitySingle);
    const Piece piece{run.data(), static_cast<std::int64_t>(run.size()), tie_of(i)};
    const auto rises = count_pieces(context_->kernels, {piece, Piece{run.data(), 0, 0}}, scratch_->rises);
    lanes_[static_cast<std::size_t>(i)].pieces[list++].push_back(rises[0]);
  };
  for (const std::vector<TokenRun>& shard : context_->shards) {
    std::vector<float> whole;
    for (const TokenRun& run : shard) {
      std::vector<float> own;
      const std::int64_t skipped = std::max<std::int64_t>(first_key - run.begin + run.step - 1, 0) / run.step;
      for (std::int64_t key = run.begin + skipped * run.step; key < std::min(run.end, first_key + keys);
           key += run.step) {
        own.push_back(scores[key - first_key]);
      }
      whole.insert(whole.end(), own.begin(), own.end());
      if (shard.size() > 1) count(std::move(own));
    }
    count(std::move(whole));
  }
}

void Panel::merge(const Panel& later) {
  const std::int64_t width = context_->kernels.queries, elements = groups_ * kGroup;
  const PanelSums a = sums(), b = later.sums();
  for (std::int64_t i = 0; i < width; ++i) {
    const double maximum = std::max(a.score_max[i], b.score_max[i]);
    const double rise_a = std::min(maximum - a.score_max[i], 1000.0),
                 rise_b = std::min(maximum - b.score_max[i], 1000.0);
    const double r_a = std::exp(-rise_a), r_b = std::exp(-rise_b);
    const auto add = [&](double* PanelSums::*sum, double by_a, double by_b) {
      (a.*sum)[i] = by_a * (a.*sum)[i] + by_b * (b.*sum)[i];
    };
    const auto raise = [&](const PanelSums& sums, double rise) {
      const double by_weight = rise * sums.weight[i] + sums.gap[i];
      sums.gap_squared[i] += rise * (by_weight + sums.gap[i]);
      sums.gap[i] = by_weight;
    };
    raise(a, rise_a);
    raise(b, rise_b);
    add(&PanelSums::weight, r_a, r_b);
    add(&PanelSums::weight_squared, r_a * r_a, r_b * r_b);
    for (const auto sum : {&PanelSums::d, &PanelSums::d_squared, &PanelSums::gap, &PanelSums::gap_squared}) {
      add(sum, r_a, r_b);
    }
    a.score_max[i] = maximum;
    a.score_min[i] = std::min(a.score_min[i], b.score_min[i]);
    a.d_max[i] = std::max(a.d_max[i], b.d_max[i]);
    for (std::int64_t c = 0; c < elements; ++c) {
      const std::int64_t at = context_->kernels.place(c, elements, i);
      out_[at] = r_a * out_[at] + r_b * later.out_[at];
    }
    const auto add_elements = [&](auto& to, const auto& from, double by_a, double by_b) {
      for (std::int64_t at = i; at < elements * width; at += width) {
        to[at] = static_cast<float>(by_a) * to[at] + static_cast<float>(by_b) * from[at];
      }
    };
    if (!context_->with_statistics) continue;
    add_elements(p_abs_v_, later.p_abs_v_, r_a, r_b);
    add_elements(p_centred_v2_, later.p_centred_v2_, r_a, r_b);
    add_elements(p2_v2_, later.p2_v2_, r_a * r_a, r_b * r_b);
    add_elements(p2_v_, later.p2_v_, r_a * r_a, r_b * r_b);
    Lane& lane = lanes_[static_cast<std::size_t>(i)];
    const Lane& other = later.lanes_[static_cast<std::size_t>(i)];
    lane.k_abs_max = std::max(lane.k_abs_max, other.k_abs_max);
    for (std::size_t list = 0; list < lane.pieces.size(); ++list) {
      lane.pieces[list].insert(lane.pieces[list].end(), other.pieces[list].begin(), other.pieces[list].end());
    }
  }
  if (!context_->with_statistics) return;
  for (std::size_t at = 0; at < v_sums_.size(); ++at) {
    v_sums_[at] += later.v_sums_[at];
    v_maxima_[at] = std::max(v_maxima_[at], later.v_maxima_[at]);
  }
  k_abs_max_of_all_ = std::max(k_abs_max_of_all_, later.k_abs_max_of_all_);
}

void Panel::finish(ForwardAnswer& answer) const {
  for (std::int64_t i = 0; i < rows_; ++i) finish_row(i, answer);
}

void Panel::finish_row(std::int64_t i, ForwardAnswer& answer) const {
  const Problem& problem = context_->problem;
  const Lane& lane = lanes_[static_cast<std::size_t>(i)];
  const auto at = static_cast<std::size_t>(lane.row);
  RowScalars& row = answer.statistics.rows[at];
  for (const KeyRange& keys : lane.seen) row.visible_count += keys.count();
  if (problem.has_sink) row.sink = problem.sink[answer.row_at(at) / problem.seqlen_q % problem.heads_q];
  if (row.visible_count == 0) {
    row.score_max = row.lse = answer.lse.value[at] = row.sink;
    if (problem.has_sink) {
      row.p_max = row.p_sink = 1;
      row.lse_keys = answer.lse_keys.value[at] = -kInfinity;
    }
    return;
  }
  row.visible_ranges = static_cast<std::int64_t>(lane.seen.size());
  const LaneSums sums = sums_with_sink(i, row);
  row.score_max = std::max(sums.key_score_max, row.sink);
  row.lse = answer.lse.value[at] = row.score_max + std::log(sums.weight_sum);
  if (problem.has_sink) {
    row.lse_keys = answer.lse_keys.value[at] = sums.key_score_max + std::log(sums.weight);
    row.p_sink = std::exp(row.sink - row.score_max) / sums.weight_sum;
    row.sink_gap = std::fabs(row.sink - sums.key_score_max);
  }
  for (std::int64_t c = 0; c < problem.head_dim_v; ++c) {
    answer.out.value[at * static_cast<std::size_t>(problem.head_dim_v) + static_cast<std::size_t>(c)] =
        sums.rescale * out_[context_->kernels.place(c, groups_ * kGroup, i)] / sums.weight_sum;
  }
  if (!context_->with_statistics) return;
  finish_scalars(i, sums, row);
  finish_statistics(i, sums, row, answer);
}

// The sink is one more part that has met one key of no value.
Panel::LaneSums Panel::sums_with_sink(std::int64_t i, const RowScalars& row) const {
  const PanelSums s = sums();
  const double key_max = s.score_max[i], weight = s.weight[i];
  if (!context_->problem.has_sink) return {1, key_max, weight, weight};
  const double maximum = std::max(key_max, row.sink), rescale = std::exp(key_max - maximum);
  return {rescale, key_max, weight, rescale * weight + std::exp(row.sink - maximum)};
}

// How far a computed score may lie from the exact one.
double Panel::score_error(const RowScalars& row) const {
  const Problem& problem = context_->problem;
  return 1.01 * kUnit *
         (static_cast<double>(problem.head_dim_qk + 1) * std::fabs(problem.softmax_scale) * row.d_max +
          kFastCapUlps * problem.softcap);
}

void Panel::finish_scalars(std::int64_t i, const LaneSums& sums, RowScalars& row) const {
  const Problem& problem = context_->problem;
  const Lane& lane = lanes_[static_cast<std::size_t>(i)];
  const PanelSums s = this->sums();
  row.d_max = d_max_of(i);
  const double apart = 2 * score_error(row);  // a computed gap and the exact one
  row.gap_max = row.score_max - s.score_min[i] + apart;
  row.abs_sum_max = lane.q_abs_sum + std::max(lane.k_abs_max, k_abs_max_of_all_);
  if (row.d_max > 0) {  // else scores are exact, and equal
    for (const std::vector<PieceRises>& pieces : lane.pieces) {
      const Rises rises = rises_of(pieces, tie_of(i));
      row.rises = std::max(row.rises, rises.monotone);
      row.rises_any_split = std::max(row.rises_any_split, std::min(rises.any_split, row.visible_count - 1));
    }
  }
  const double raise = raise_of_row(problem, row, 0x1p-24), l = sums.weight_sum / sums.rescale, unit = d_unit();
  row.p_max = std::min(1.0, raise / sums.weight_sum);
  row.sum_p_squared = std::min(1.0, raise * s.weight_squared[i] / (l * l));
  if (row.d_max > 0) {
    const double of_d = raise_of_row(problem, row, context_->kernels.word_roundoff()) * unit;
    row.mean_d = of_d * s.d[i] / l;
    row.mean_d_squared = squared(of_d * std::sqrt(s.d_squared[i] / l));
  }
  if (row.d_max > 0 || problem.has_sink) {
    const double rise = row.score_max - sums.key_score_max, by_weight = s.gap[i] + rise * sums.weight;
    const double gap_lost = apart + static_cast<double>(row.visible_count) * kLostDouble;
    row.mean_gap = raise * by_weight / l + gap_lost;
    row.mean_gap_squared =
        squared(raise * std::sqrt((s.gap_squared[i] + rise * (by_weight + s.gap[i])) / l) + gap_lost);
  }
}

void Panel::finish_statistics(std::int64_t i, const LaneSums& sums, const RowScalars& row,
                              ForwardAnswer& answer) const {
  const Problem& problem = context_->problem;
  const std::int64_t width = context_->kernels.queries, dv = problem.head_dim_v, elements = groups_ * kGroup;
  const HeadFacts& head = context_->head;
  RowStatistics& s = answer.statistics;
  const double l = sums.weight_sum / sums.rescale;
  const double raise = raise_of_row(problem, row, context_->kernels.word_roundoff());
  const double lost = static_cast<double>(row.visible_count) * kLostSingle;
  const double out_error = 4.04 * fast_weight_error_max(problem, row) +
                           4 * static_cast<double>(fast_sum_depth(problem, row.visible_count)) * kUnit;
  // What all keys but the largest weigh: rows of one heavy key, where the centre of the head is far from O.
  const double others = row.visible_count == 1 ? 0 : (sums.weight - 1) / l + 2 * out_error;
  for (std::int64_t c = 0; c < dv; ++c) {
    const std::int64_t from = c * width + i;
    const auto at = static_cast<std::size_t>(lanes_[static_cast<std::size_t>(i)].row * dv + c);
    s.sum_abs_v[at] = v_sums_[i * elements + c] + v_sums_[width * elements + c];
    s.max_abs_v[at] = std::max(v_maxima_[i * elements + c], v_maxima_[width * elements + c]);
    if (s.max_abs_v[at] == 0) continue;  // every sum is exactly 0
    const double unit = head.v_unit[c], unit2 = unit * unit, centre = head.v_centre[c];
    s.p_abs_v[at] = (raise * p_abs_v_[from] / l + lost) * unit;
    s.p2_v2[at] = (raise * p2_v2_[from] / (l * l) + lost) * unit2;
    s.p2_v[at] = p2_v_[from] / (l * l) * unit;
    const double about_centre = (raise * p_centred_v2_[from] / l + lost) * unit2;
    const double about_mean = about_centre - least_drop(answer.out.value[at], centre, out_error, s.p_abs_v[at], row);
    const double of_sink = squared(row.p_sink * (1 + out_error) * s.max_abs_v[at]);
    s.p_variance[at] = std::min(std::max(0.0, about_mean), others * squared(2 * s.max_abs_v[at]) + of_sink);
  }
}

}  // namespace ringproof

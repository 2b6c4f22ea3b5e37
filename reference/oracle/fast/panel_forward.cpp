// The plain oracle's formulas on panels of rows (6 vectors of queries side by side), each panel in four steps:
//
//   scores    S and D = |q| . |k| for every key that some row of the panel sees; hidden ones become -inf and 0
//   extremes  M, least S, largest D; with them the rises of the running maximum
//   weights   w = exp(S - M) with the final maximum, so nothing is ever rescaled, and the sums of w, w^2, w D, ...
//   values    sum w v in double; sum w |v|, w (v - c)^2, w^2 v^2, w^2 v in single precision, raised afterwards
//
// Scores of a panel are kept (16 bytes a key and row): that costs less than the rescaling of an online softmax, gives
// the rises the true scores, and leaves one rounding story. Sums run over blocks of kKeysPerBlock keys which are then
// added, so a term passes about 64 + n / 64 roundings instead of n. Weights of hidden keys are 0, and 0 adds exactly.
//
// Raising: a sum of n positive terms in single precision is wrong by at most (d + depth + a few) 2^-24 relatively,
// the weights by 2 A (A = fast_weight_error_max), their squares by 4 A.

#include "reference/oracle/fast/panel_forward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "reference/oracle/fast/fast_forward.h"
#include "reference/oracle/fast/longest_chains.h"
#include "reference/oracle/rises.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kUnit = 0x1p-53;
constexpr double kLostSingle = 0x1p-123;  // a term, in units: the weight, the value, the product and the sum may vanish
constexpr double kLostDouble = 0x1p-990;  // p gap^2 of a weight that vanished

class PanelForward {
 public:
  PanelForward(const Problem& problem, const PanelKernels& kernels, const TensorView& q, const PackedHead& head,
               ForwardAnswer& answer)
      : problem_(problem), kernels_(kernels), q_(q), head_(head), answer_(answer) {
    for (int rank = 0; rank < problem.topology.rank_count; ++rank) {
      shards_.push_back(owned_tokens(problem.topology, rank, problem.seqlen_kv));
    }
  }

  // False when a query is an infinity or a NaN.
  bool panel(std::int64_t b, std::int64_t h, std::int64_t begin, PanelScratch& work) {
    rows_ = std::min(kernels_.queries, problem_.seqlen_q - begin);
    first_row_ = (b * problem_.heads_q + h) * problem_.seqlen_q + begin;
    find_keys(begin);
    if (first_key_ >= end_key_) {
      for (std::int64_t i = 0; i < rows_; ++i) leave_empty(i);
      return true;
    }
    work.grow(kernels_, end_key_ - first_key_, problem_.head_dim_qk, groups_of(problem_.head_dim_v));
    pack_panel(q_, b, h, begin, begin + rows_, kernels_.queries, work.panel);
    if (!work.panel.is_finite) return false;
    scores(work);
    products(work);
    for (std::int64_t i = 0; i < rows_; ++i) finish_values(i, work);
    return true;
  }

 private:
  // Keys each lane sees, and the whole groups of keys that hold them all.
  void find_keys(std::int64_t begin) {
    const Band band = band_of(problem_.mask, problem_.seqlen_q, problem_.seqlen_kv);
    seen_.clear();
    std::int64_t least = problem_.seqlen_kv, largest = 0;
    all_see_ = {0, problem_.seqlen_kv};
    for (std::int64_t i = 0; i < kernels_.queries; ++i) {
      const KeyRange keys = visible_keys(band, begin + std::min(i, rows_ - 1), problem_.seqlen_kv);
      seen_.push_back(keys);
      all_see_ = {std::max(all_see_.begin, keys.begin), std::min(all_see_.end, keys.end)};
      if (keys.count() == 0) continue;
      least = std::min(least, keys.begin);
      largest = std::max(largest, keys.end);
    }
    first_key_ = least / kGroup * kGroup;
    end_key_ = groups_of(largest) * kGroup;
  }

  RowScalars& scalars_of(std::int64_t i) const { return answer_.statistics.rows[first_row_ + i]; }

  void leave_empty(std::int64_t i) {
    RowScalars& scalars = scalars_of(i);
    scalars.score_max = scalars.lse = answer_.lse.value[first_row_ + i] = -kInfinity;
  }

  void scores(PanelScratch& work) {
    const std::int64_t width = kernels_.queries, d = problem_.head_dim_qk, keys = end_key_ - first_key_;
    for (std::int64_t key = first_key_; key < end_key_; key += kKeysPerBlock) {
      kernels_.scores(work.panel.q.get(), work.panel.q_abs.get(), head_.k.get() + key * d, head_.k_abs.get() + key * d,
                      d, std::min(kKeysPerBlock, end_key_ - key) / kGroup, problem_.softmax_scale,
                      work.score.get() + (key - first_key_) * width, work.d.get() + (key - first_key_) * width);
    }
    for (std::int64_t key = first_key_; key < end_key_; ++key) {
      if (key == all_see_.begin && all_see_.count() > 0) key = all_see_.end;
      if (key == end_key_) break;
      for (std::int64_t i = 0; i < width; ++i) {
        if (key >= seen_[i].begin && key < seen_[i].end) continue;
        work.score[(key - first_key_) * width + i] = -kInfinity;
        work.d[(key - first_key_) * width + i] = 0;
      }
    }
    const PanelSums sums = work.panel_sums();
    kernels_.extremes(work.score.get(), work.d.get(), keys, sums);
    RangeTable::Range k_range;
    for (std::int64_t i = 0; i < rows_; ++i) {
      if (seen_[i].count() == 0) {
        leave_empty(i);
        continue;
      }
      RowScalars& scalars = scalars_of(i);
      scalars.visible_count = seen_[i].count();
      scalars.score_max = sums.score_max[i];
      head_.k_ranges.front().move(k_range, seen_[i]);
      scalars.abs_sum_max = work.panel.q_abs_sum[i] + k_range.maximum[0];
      scalars.d_max = d_max_of(i, sums.d_max[i], work);
      scalars.gap_max = sums.score_max[i] - sums.score_min[i] + score_apart(scalars);
      if (shards_.size() > 1) count_rises_in_shards(i, work);
    }
    if (shards_.size() == 1) count_rises_of_panel(work);
  }

  double d_unit(const PanelScratch& work) const { return work.panel.unit * head_.k_unit; }

  // What single precision may lose below its normal range in D.
  double d_lost(const PanelScratch& work) const {
    return static_cast<double>(problem_.head_dim_qk) * kLostSingle * d_unit(work);
  }

  // Raised; but where every product is 0 so must this be, because scores are exact then.
  double d_max_of(std::int64_t i, double in_single, const PanelScratch& work) const {
    const auto d = problem_.head_dim_qk;
    if (work.panel.q_abs_sum[i] == 0 || head_.k_max == 0) return 0;
    const double raised = in_single * d_unit(work) * (1 + static_cast<double>(d + 8) * 0x1p-24) + d_lost(work);
    if (in_single > 0) return raised;
    for (std::int64_t key = seen_[i].begin; key < seen_[i].end; ++key) {
      for (std::int64_t c = 0; c < d; ++c) {
        const double k = head_.k[(key / kGroup * d + c) * kGroup + key % kGroup];
        if (k != 0 && work.panel.q[c * kernels_.queries + i] != 0) return raised;
      }
    }
    return 0;
  }

  // How far a computed gap may lie from the exact one.
  double score_apart(const RowScalars& row) const {
    return 2.02 * static_cast<double>(problem_.head_dim_qk + 1) * kUnit * std::fabs(problem_.softmax_scale) * row.d_max;
  }

  double near_tie_of(std::int64_t i) const {
    return near_tie(problem_.head_dim_qk, problem_.softmax_scale, scalars_of(i).d_max, 0) * (1 + 0x1p-20);
  }

  // One rank: all keys a row sees are one run.
  void count_rises_of_panel(PanelScratch& work) {
    const std::int64_t width = kernels_.queries;
    double* const ties = work.sums.get() + PanelScratch::kSumCount * width;
    double* const rises = ties + width;
    for (std::int64_t i = 0; i < width; ++i) ties[i] = i < rows_ && seen_[i].count() > 0 ? near_tie_of(i) : 0;
    kernels_.rises(work.score.get(), end_key_ - first_key_, ties, rises);
    const auto together = static_cast<std::int64_t>(kRowsTogether);
    for (std::int64_t first = 0; first < rows_; first += together) {
      std::array<ScoreRow, kRowsTogether> rows;
      work.row_scores.resize(static_cast<std::size_t>(together * (end_key_ - first_key_ + 2)));
      double* to = work.row_scores.data();
      for (std::int64_t r = 0; r < together; ++r) {
        const std::int64_t i = std::min(first + r, rows_ - 1);
        *to++ = -kInfinity;
        rows[r] = {to, seen_[i].count(), ties[i]};
        for (std::int64_t key = seen_[i].begin; key < seen_[i].end; ++key)
          *to++ = work.score[(key - first_key_) * width + i];
        *to++ = -kInfinity;
      }
      const auto longest = longest_chains(rows, work.stack);
      for (std::int64_t i = first; i < std::min(first + together, rows_); ++i) {
        if (seen_[i].count() == 0) continue;
        scalars_of(i).rises = static_cast<std::int64_t>(rises[i]);
        scalars_of(i).rises_any_split = std::max(scalars_of(i).rises, longest[i - first]);
      }
    }
  }

  void count_rises_in_shards(std::int64_t i, PanelScratch& work) {
    RowScalars& scalars = scalars_of(i);
    const auto count = [&](std::span<const double> row) {
      const Rises rises = count_rises(row, near_tie_of(i));
      scalars.rises = std::max(scalars.rises, rises.monotone);
      scalars.rises_any_split = std::max(scalars.rises_any_split, rises.any_split);
    };
    for (const std::vector<TokenRun>& shard : shards_) {
      work.row_scores.clear();
      for (const TokenRun& run : shard) {
        const std::size_t from = work.row_scores.size();
        for (std::int64_t key = run.begin; key < run.end; key += run.step) {
          if (key < seen_[i].begin || key >= seen_[i].end) continue;
          work.row_scores.push_back(work.score[(key - first_key_) * kernels_.queries + i]);
        }
        count(std::span<const double>(work.row_scores).subspan(from));
      }
      if (shard.size() > 1) count(work.row_scores);
    }
  }

  void products(PanelScratch& work) {
    const std::int64_t width = kernels_.queries, groups = groups_of(problem_.head_dim_v);
    const PanelSums sums = work.panel_sums();
    std::fill(sums.weight, sums.weight + 6 * width, 0.0);
    std::fill_n(work.out.get(), groups * kGroup * width, 0.0);
    for (auto* single : work.singles()) std::fill_n(single->get(), groups * kGroup * width, 0.0f);
    for (std::int64_t key = first_key_; key < end_key_; key += kKeysPerBlock) {
      const std::int64_t keys = std::min(kKeysPerBlock, end_key_ - key), from = (key - first_key_) * width;
      double* const weight = work.score.get() + from;
      float* const single = work.d.get() + from;
      float* const squared = work.weight_squared.get() + from;
      kernels_.weights(weight, single, squared, keys, sums);
      const std::int64_t v = key * kGroup, stride = head_.padded_keys() * kGroup;
      kernels_.values(weight, head_.v.get() + v, stride, groups, keys, work.out.get());
      kernels_.values_single(single, head_.v_abs.get() + v, stride, groups, keys, work.p_abs_v.get());
      kernels_.values_single(single, head_.v_centred_squared.get() + v, stride, groups, keys, work.p_centred_v2.get());
      kernels_.values_single(squared, head_.v_squared.get() + v, stride, groups, keys, work.p2_v2.get());
      kernels_.values_single(squared, head_.v_single.get() + v, stride, groups, keys, work.p2_v.get());
    }
    for (std::int64_t i = 0; i < rows_; ++i) {
      if (seen_[i].count() > 0) finish_row(i, sums, d_unit(work), d_lost(work));
    }
  }

  void finish_row(std::int64_t i, const PanelSums& sums, double unit, double d_lost) {
    RowScalars& row = scalars_of(i);
    const double raise = raise_of_row(problem_, row), l = sums.weight[i], apart = score_apart(row);
    const double gap_lost = apart + static_cast<double>(row.visible_count) * kLostDouble;
    row.lse = answer_.lse.value[first_row_ + i] = row.score_max + std::log(l);
    row.p_max = std::min(1.0, raise / l);
    row.sum_p_squared = std::min(1.0, raise * sums.weight_squared[i] / (l * l));
    if (row.d_max > 0) {
      const auto squared = [](double value) { return value * value; };
      row.mean_d = raise * unit * sums.d[i] / l + d_lost;
      row.mean_d_squared = squared(raise * unit * std::sqrt(sums.d_squared[i] / l) + d_lost);
      row.mean_gap = raise * sums.gap[i] / l + gap_lost;
      row.mean_gap_squared = squared(raise * std::sqrt(sums.gap_squared[i] / l) + gap_lost);
    }
  }

  void finish_values(std::int64_t i, PanelScratch& work) {
    const KeyRange seen = seen_[i];
    if (seen.count() == 0) return;
    const std::int64_t width = kernels_.queries, dv = problem_.head_dim_v;
    const RowScalars& row = scalars_of(i);
    RowStatistics& s = answer_.statistics;
    const double l = work.panel_sums().weight[i], raise = raise_of_row(problem_, row);
    const double lost = static_cast<double>(row.visible_count) * kLostSingle;
    const double out_error = 4.04 * fast_weight_error_max(problem_, row.d_max, row.gap_max) +
                             4 * static_cast<double>(fast_sum_depth(row.visible_count)) * kUnit;
    ranges_.resize(static_cast<std::size_t>(groups_of(dv)));
    for (std::int64_t c = 0; c < dv; ++c) {
      RangeTable::Range& range = ranges_[c / kGroup];
      if (c % kGroup == 0) head_.v_ranges[c / kGroup].move(range, seen);
      const std::int64_t at = (first_row_ + i) * dv + c, from = c * width + i;
      s.sum_abs_v[at] = range.sum[c % kGroup];
      s.max_abs_v[at] = range.maximum[c % kGroup];
      if (s.max_abs_v[at] == 0) continue;  // every sum is exactly 0
      const double unit = head_.v_unit[c], unit2 = unit * unit;
      const double out = answer_.out.value[at] = work.out[from] / l;
      s.p_abs_v[at] = (raise * work.p_abs_v[from] / l + lost) * unit;
      s.p2_v2[at] = (raise * work.p2_v2[from] / (l * l) + lost) * unit2;
      s.p2_v[at] = work.p2_v[from] / (l * l) * unit;
      const double about_centre = (raise * work.p_centred_v2[from] / l + lost) * unit2;
      const double apart = std::max(0.0, std::fabs(out - head_.v_centre[c]) - out_error * s.p_abs_v[at]);
      s.p_variance[at] = std::max(0.0, about_centre - apart * apart * (1 - 4 * kUnit));
    }
  }

  const Problem& problem_;
  const PanelKernels& kernels_;
  const TensorView& q_;
  const PackedHead& head_;
  ForwardAnswer& answer_;
  std::vector<std::vector<TokenRun>> shards_;  // by rank
  std::vector<KeyRange> seen_;                 // by lane
  KeyRange all_see_{0, 0};
  std::int64_t rows_ = 0, first_row_ = 0, first_key_ = 0, end_key_ = 0;
  std::vector<RangeTable::Range> ranges_;  // by group of columns, of the row before
};

}  // namespace

bool forward_panel(const Problem& problem, const PanelKernels& kernels, const TensorView& q, const PackedHead& head,
                   std::int64_t b, std::int64_t h, std::int64_t row, PanelScratch& work, ForwardAnswer& answer) {
  return PanelForward(problem, kernels, q, head, answer).panel(b, h, row, work);
}

}  // namespace ringproof

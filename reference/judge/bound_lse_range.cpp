// What is known of a row's lse without its scores (judgement.md, long contexts: all of lse by a cheaper bound).
//
// D_j = |q|.|k_j| is at most D = min(|q|_2 max |k_j|_2, |q|_1 max |k_j|_inf) (Cauchy and Schwarz, Hoelder), the maxima
// over all keys of the head, so |S_j| <= R = |scale| D, and at most the softcap. With n visible keys
//
//   ln n - R  <=  lse of the keys  <=  ln n + R
//   ln n + mean S  <=  lse of the keys                                                           (Jensen)
//
// mean S = scale q . mean k is linear in the keys, so running sums of them serve every row that sees the keys [0, end),
// none capped. It lies half a variance of the scores below lse, and half of the keys dropped are ln 2: that shows. A
// sink z joins both ends as ln(e^x + e^z).
//
// The bound is L1 with the largest value that every statistic of such a row may have: |M| and |L| at most
// A + ln(n + 1), A = max(R, |z|), gaps R + A, D everywhere, p = 1, a rise at every key. Each of them raises it.
//
// Sums of n numbers in double are wrong by n 2^-53 of the sum of their magnitudes.

#include "reference/judge/bound_lse_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reference/judge/bound_forward.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kUp = 1 + 0x1p-20;  // norms evaluated in double

struct Norms {
  double one = 0, two = 0, infinity = 0;
};

Norms norms_of(const std::vector<double>& x) {
  Norms norms;
  for (const double one : x) {
    norms.one += std::fabs(one);
    norms.two += one * one;
    norms.infinity = std::max(norms.infinity, std::fabs(one));
  }
  return {norms.one * kUp, std::sqrt(norms.two) * kUp, norms.infinity};
}

void read_row(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t s, double factor,
              std::vector<double>& row) {
  row.resize(static_cast<std::size_t>(view.shape[3]));
  for (std::size_t d = 0; d < row.size(); ++d) row[d] = factor * view.load(b, h, s, static_cast<std::int64_t>(d));
}

// ln(e^x + e^y)
double joined(double x, double y) {
  const double largest = std::max(x, y);
  return std::isinf(largest) ? largest : largest + std::log(std::exp(x - largest) + std::exp(y - largest));
}

double bound_of(const Problem& problem, const Arithmetic& a, const RowScalars& row) {
  const RowErrors e = row_errors(problem, a, row);
  if (!(e.denominator < 1)) return std::numeric_limits<double>::infinity();
  const double weights = std::max(std::log1p(e.weight_mean), -std::log(e.weight_sum_min));
  const double bound = bound_lse_after(problem, a, e, row, weights + e.denominator / (1 - e.denominator));
  return std::isfinite(bound) ? bound * kUp : std::numeric_limits<double>::infinity();
}

class Ranges {
 public:
  Ranges(const Reference& reference, const Arithmetic& arithmetic, bool of_keys)
      : reference_(reference),
        problem_(reference.c.problem),
        arithmetic_(arithmetic),
        has_sink_(problem_.has_sink && !of_keys),
        visibility_(problem_) {
    // Rows in the order in which their keys end, so that one running sum meets them all.
    for (std::int64_t s = 0; s < problem_.seqlen_q; ++s) {
      const std::vector<KeyRange> keys = visibility_.ranges(s);
      if (keys.empty()) continue;
      rows_.push_back({s, keys.size() == 1 && keys[0].begin == 0 ? keys[0].end : 0, visibility_.count(s),
                       static_cast<std::int64_t>(keys.size())});
    }
    std::stable_sort(rows_.begin(), rows_.end(), [](const Row& one, const Row& other) { return one.end < other.end; });
  }

  template <class Take>
  void of_head(std::int64_t b, std::int64_t h_kv, const Take& take) {
    const TensorView k = reference_.inputs.k.view(), q = reference_.inputs.q.view();
    Norms largest;
    for (std::int64_t key = 0; key < problem_.seqlen_kv; ++key) {
      read_row(k, b, h_kv, key, problem_.descale_k, numbers_);
      const Norms norms = norms_of(numbers_);
      largest = {std::max(largest.one, norms.one), std::max(largest.two, norms.two),
                 std::max(largest.infinity, norms.infinity)};
    }
    std::vector<double> sum(static_cast<std::size_t>(problem_.head_dim_qk));
    std::int64_t added = 0;
    const std::int64_t group = problem_.heads_per_group(), n = problem_.seqlen_q;
    for (const Row& row : rows_) {
      for (; added < row.end; ++added) {
        read_row(k, b, h_kv, added, problem_.descale_k, numbers_);
        for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += numbers_[d];
      }
      for (std::int64_t h = h_kv * group; h < (h_kv + 1) * group; ++h) {
        const std::int64_t place = (b * problem_.heads_q + h) * n + row.s;
        if (std::binary_search(reference_.want.rows.begin(), reference_.want.rows.end(), place)) continue;
        read_row(q, b, h, row.s, problem_.descale_q, numbers_);
        take(place, range_of(row, h, largest, sum));
      }
    }
  }

 private:
  struct Row {
    std::int64_t s, end, count, ranges;  // it sees [0, end); end 0: other keys
  };

  // Of the q that `numbers_` holds.
  LseRange range_of(const Row& row, std::int64_t h, const Norms& k, const std::vector<double>& sum) const {
    const Norms q = norms_of(numbers_);
    const double scale = std::fabs(problem_.softmax_scale), n = static_cast<double>(row.count);
    const double d_max = std::min(q.two * k.two, q.one * k.infinity) * kUp;
    const double uncapped = scale * d_max * kUp;
    const double reach = problem_.softcap > 0 ? std::min(uncapped, problem_.softcap) : uncapped;
    LseRange range{std::log(n) - reach, std::log(n) + reach, 0};
    if (row.end > 0 && problem_.softcap == 0) {
      double mean = 0;
      for (std::size_t d = 0; d < sum.size(); ++d) mean += numbers_[d] * sum[d];
      const double rounded = (n + static_cast<double>(problem_.head_dim_qk) + 4) * 0x1p-52 * uncapped;
      range.least = std::max(range.least, std::log(n) + problem_.softmax_scale * mean / n - rounded);
    }
    const double sink = has_sink_ ? static_cast<double>(reference_.inputs.sink[static_cast<std::size_t>(h)]) : 0;
    if (has_sink_) range = {joined(range.least, sink), joined(range.largest, sink), 0};
    const double slack = 0x1p-40 * (1 + std::fabs(range.least) + std::fabs(range.largest));
    range.least -= slack;
    range.largest += slack;
    range.bound = bound_of(problem_, arithmetic_, worst(row, d_max, reach, sink, q.one + k.one));
    return range;
  }

  // Every statistic at its largest.
  RowScalars worst(const Row& row, double d_max, double reach, double sink, double abs_sum_max) const {
    const double magnitude = std::max(reach, std::fabs(sink)), gap = reach + magnitude;
    RowScalars scalars;
    scalars.visible_count = scalars.rises = scalars.rises_any_split = row.count;
    scalars.visible_ranges = row.ranges;
    scalars.score_max = magnitude;
    scalars.lse = scalars.lse_keys = magnitude + std::log(static_cast<double>(row.count) + 1);
    scalars.p_max = scalars.sum_p_squared = 1;
    scalars.mean_d = scalars.d_max = d_max;
    scalars.mean_d_squared = d_max * d_max;
    scalars.mean_gap = scalars.gap_max = gap;
    scalars.mean_gap_squared = gap * gap;
    scalars.abs_sum_max = abs_sum_max;
    if (problem_.has_sink) {
      scalars.sink = sink;
      scalars.p_sink = has_sink_ ? 1 : 0;
      scalars.sink_gap = gap;
    }
    return scalars;
  }

  const Reference& reference_;
  const Problem& problem_;
  const Arithmetic& arithmetic_;
  bool has_sink_;
  Visibility visibility_;
  std::vector<Row> rows_;
  std::vector<double> numbers_;
};

}  // namespace

void for_each_lse_range(const Reference& reference, const Arithmetic& arithmetic, bool of_keys,
                        const std::function<void(std::int64_t row, const LseRange&)>& take) {
  Ranges ranges(reference, arithmetic, of_keys);
  const Problem& problem = reference.c.problem;
  for (std::int64_t head = 0; head < problem.batch * problem.heads_kv; ++head) {
    ranges.of_head(head / problem.heads_kv, head % problem.heads_kv, take);
  }
}

}  // namespace ringproof

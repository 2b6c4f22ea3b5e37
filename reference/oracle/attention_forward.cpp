// Attention by the textbook formula, one row at a time, over the row's visible keys only, which may lie in several
// ranges; index j counts them in order:
//
//   pass 1  S_j = scale (q . k_j), capped: cap tanh(S_j / cap),  D_j = |q| . |k_j|,  M = max_j S_j, the sink included
//   pass 2  w_j = exp(S_j - M),  l = sum_j w_j + exp(sink - M),  L = M + ln l,  p_j = w_j / l
//   pass 3  O = (sum_j w_j v_j) / l, and the sums of |v|, p^2 v^2, ... that the bounds want
//   pass 4  sum_j p_j (v_j - O)^2, centred on the answer itself so that nothing cancels
//
// Operands of fp8 are multiplied by their descale factors as they are widened: exact, 4 bits times 24.
//
// Sums that reach the answer are compensated, so its error does not grow with d or n; bound_oracle.cpp states
// it. For fp64 storage Real is long double: at |S| ~ 200 a double oracle would be no better than the
// candidate. K is kept transposed, so that pass 1 runs over keys and pass 3 over columns in straight lines.

#include "reference/oracle/attention_forward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "reference/oracle/compensated.h"
#include "reference/oracle/parallel.h"
#include "reference/oracle/rises.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

// One kv head, widened.
template <class Real>
struct KeysAndValues {
  std::vector<Real> k_transposed;  // [head_dim_qk][seqlen_kv]
  std::vector<Real> v;             // [seqlen_kv][head_dim_v]
  std::vector<double> k_abs_sum;   // [seqlen_kv]
};

template <class Real>
KeysAndValues<Real> widen_head(const Problem& problem, const TensorView& k, const TensorView& v, std::int64_t b,
                               std::int64_t h) {
  const std::int64_t n = k.shape[2], d = k.shape[3], dv = v.shape[3];
  KeysAndValues<Real> head{std::vector<Real>(n * d), std::vector<Real>(n * dv), std::vector<double>(n)};
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t c = 0; c < d; ++c) {
      const double value = k.load(b, h, j, c) * problem.descale_k;
      head.k_transposed[c * n + j] = value;
      head.k_abs_sum[j] += std::fabs(value);
    }
    for (std::int64_t c = 0; c < dv; ++c) head.v[j * dv + c] = v.load(b, h, j, c) * problem.descale_v;
  }
  return head;
}

// What a thread needs for one row; kept between rows.
template <class Real>
struct RowWorkspace {
  std::vector<Real> q, score, score_tail, weight, sum, tail;
  std::vector<double> d, shard_scores;
};

template <class Real>
class RowForward {
 public:
  RowForward(const Problem& problem, const Visibility& visibility, const TensorView& q, ForwardAnswer& answer)
      : problem_(problem), visibility_(visibility), q_(q), answer_(answer) {
    const Topology ring = ring_of(problem.topology);
    for (int rank = 0; rank < ring.rank_count; ++rank) {
      shards_.push_back(owned_tokens(ring, rank, problem.seqlen_kv));
    }
  }

  // Row `row` of the answer, row i of head h of batch b.
  void row(const KeysAndValues<Real>& head, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t row,
           RowWorkspace<Real>& work) {
    seen_ = visibility_.ranges(i);
    RowScalars& scalars = answer_.statistics.rows[row];
    for (const KeyRange& range : seen_) scalars.visible_count += range.count();
    if (problem_.has_sink) scalars.sink = problem_.sink[h];
    if (seen_.empty()) {
      empty_row(row, scalars);
      return;
    }
    work.q.resize(problem_.head_dim_qk);
    for (std::int64_t c = 0; c < problem_.head_dim_qk; ++c) work.q[c] = q_.load(b, h, i, c) * problem_.descale_q;
    scalars.visible_ranges = static_cast<std::int64_t>(seen_.size());
    scores(head, work, scalars);
    weights(scalars.visible_count, work, scalars, row);
    if (problem_.has_sink) leave_sink_out(scalars.visible_count, work, scalars, row);
    values(head, work, row);
    count_rises_in_shards(work, scalars);
  }

 private:
  // Only the sink, if there is one.
  void empty_row(std::int64_t row, RowScalars& scalars) {
    scalars.score_max = scalars.lse = answer_.lse.value[row] = scalars.sink;
    if (!problem_.has_sink) return;
    scalars.p_max = scalars.p_sink = 1;
    scalars.lse_keys = answer_.lse_keys.value[row] = -std::numeric_limits<double>::infinity();
  }

  // Calls run(first key, count, place of the first among the visible keys) for every range.
  template <class Run>
  void for_each_range(const Run& run) const {
    std::int64_t place = 0;
    for (const KeyRange& range : seen_) {
      run(range.begin, range.count(), place);
      place += range.count();
    }
  }

  // Pass 1.
  void scores(const KeysAndValues<Real>& head, RowWorkspace<Real>& work, RowScalars& scalars) {
    const std::int64_t n = scalars.visible_count, stride = problem_.seqlen_kv;
    work.score.assign(n, 0);
    work.score_tail.assign(n, 0);
    work.d.assign(n, 0);
    for (std::int64_t c = 0; c < problem_.head_dim_qk; ++c) {
      const Real q = work.q[c];
      for_each_range([&](std::int64_t first, std::int64_t count, std::int64_t place) {
        const Real* const k = head.k_transposed.data() + c * stride + first;
        Real* const score = work.score.data() + place;
        Real* const tail = work.score_tail.data() + place;
        double* const d = work.d.data() + place;
        for (std::int64_t j = 0; j < count; ++j) {
          add_compensated(score[j], tail[j], q * k[j]);
          d[j] += std::fabs(static_cast<double>(q) * static_cast<double>(k[j]));
        }
      });
    }
    const auto scale = static_cast<Real>(problem_.softmax_scale);
    Real maximum = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < n; ++j) {
      work.score[j] = capped(scale * compensated_value(work.score[j], work.score_tail[j]));
      maximum = std::max(maximum, work.score[j]);
    }
    key_score_max_ = maximum;
    if (problem_.has_sink) maximum = std::max(maximum, static_cast<Real>(scalars.sink));
    scalars.score_max = static_cast<double>(maximum);
    scalars.d_max = *std::max_element(work.d.begin(), work.d.begin() + n);
    double q_abs_sum = 0;
    for (const Real value : work.q) q_abs_sum += std::fabs(static_cast<double>(value));
    double k_abs_sum = 0;
    for (const KeyRange& range : seen_) {
      const auto sums = head.k_abs_sum.begin();
      k_abs_sum = std::max(k_abs_sum, *std::max_element(sums + range.begin, sums + range.end));
    }
    scalars.abs_sum_max = q_abs_sum + k_abs_sum;
    score_max_ = maximum;
  }

  Real capped(Real score) const {
    if (problem_.softcap == 0) return score;
    const auto cap = static_cast<Real>(problem_.softcap);
    return cap * std::tanh(score / cap);
  }

  // Pass 2.
  void weights(std::int64_t n, RowWorkspace<Real>& work, RowScalars& s, std::int64_t row) {
    work.weight.resize(n);
    Real sum = 0, tail = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      work.weight[j] = std::exp(work.score[j] - score_max_);
      add_compensated(sum, tail, work.weight[j]);
    }
    if (problem_.has_sink) add_compensated(sum, tail, std::exp(static_cast<Real>(s.sink) - score_max_));
    weight_sum_ = compensated_value(sum, tail);
    const Real lse = score_max_ + std::log(weight_sum_);
    s.p_max = static_cast<double>(1 / weight_sum_);
    set(answer_.lse, row, lse);
    s.lse = static_cast<double>(lse);
    for (std::int64_t j = 0; j < n; ++j) {
      const auto p = static_cast<double>(work.weight[j] / weight_sum_);
      const auto gap = static_cast<double>(score_max_ - work.score[j]);
      s.sum_p_squared += p * p;
      s.mean_d += p * work.d[j];
      s.mean_d_squared += p * work.d[j] * work.d[j];
      s.mean_gap += p * gap;
      s.mean_gap_squared += p * gap * gap;
      s.gap_max = std::max(s.gap_max, gap);
    }
  }

  void leave_sink_out(std::int64_t n, const RowWorkspace<Real>& work, RowScalars& s, std::int64_t row) {
    Real sum = 0, tail = 0;
    for (std::int64_t j = 0; j < n; ++j) add_compensated(sum, tail, std::exp(work.score[j] - key_score_max_));
    const Real lse_keys = key_score_max_ + std::log(compensated_value(sum, tail));
    set(answer_.lse_keys, row, lse_keys);
    s.lse_keys = static_cast<double>(lse_keys);
    s.p_sink = static_cast<double>(std::exp(static_cast<Real>(s.sink) - score_max_) / weight_sum_);
    s.sink_gap = std::fabs(static_cast<double>(static_cast<Real>(s.sink) - key_score_max_));
  }

  // Calls visit(key, its place among the visible keys), in order.
  template <class Visit>
  void for_each_key(const Visit& visit) const {
    for_each_range([&](std::int64_t first, std::int64_t count, std::int64_t place) {
      for (std::int64_t j = 0; j < count; ++j) visit(first + j, place + j);
    });
  }

  // Passes 3 and 4.
  void values(const KeysAndValues<Real>& head, RowWorkspace<Real>& work, std::int64_t row) {
    const std::int64_t dv = problem_.head_dim_v;
    RowStatistics& st = answer_.statistics;
    double* const abs_v = st.p_abs_v.data() + row * dv;
    double* const p2_v2 = st.p2_v2.data() + row * dv;
    double* const p2_v = st.p2_v.data() + row * dv;
    double* const sum_v = st.sum_abs_v.data() + row * dv;
    double* const max_v = st.max_abs_v.data() + row * dv;
    double* const variance = st.p_variance.data() + row * dv;
    work.sum.assign(dv, 0);
    work.tail.assign(dv, 0);
    for_each_key([&](std::int64_t key, std::int64_t j) {
      const Real* v = head.v.data() + key * dv;
      const Real weight = work.weight[j];
      const auto p = static_cast<double>(weight / weight_sum_);
      for (std::int64_t c = 0; c < dv; ++c) {
        add_compensated(work.sum[c], work.tail[c], weight * v[c]);
        const auto value = static_cast<double>(v[c]);
        const double magnitude = std::fabs(value);
        abs_v[c] += p * magnitude;
        p2_v2[c] += p * value * (p * value);
        p2_v[c] += p * p * value;
        sum_v[c] += magnitude;
        max_v[c] = std::max(max_v[c], magnitude);
      }
    });
    for (std::int64_t c = 0; c < dv; ++c) {
      work.sum[c] = compensated_value(work.sum[c], work.tail[c]) / weight_sum_;
      set(answer_.out, row * dv + c, work.sum[c]);
    }
    for_each_key([&](std::int64_t key, std::int64_t j) {
      const Real* v = head.v.data() + key * dv;
      const auto p = static_cast<double>(work.weight[j] / weight_sum_);
      for (std::int64_t c = 0; c < dv; ++c) {
        const auto distance = static_cast<double>(v[c] - work.sum[c]);
        variance[c] += p * distance * distance;
      }
    });
  }

  // Within each shard, and within each of its runs alone: a zigzag rank may take its two runs one by one, and the
  // second starts a maximum of its own.
  void count_rises_in_shards(RowWorkspace<Real>& work, RowScalars& scalars) {
    const double tie = near_tie(problem_.head_dim_qk, problem_.softmax_scale, scalars.d_max, problem_.softcap);
    const auto count = [&](std::span<const double> scores) {
      const Rises rises = count_rises(scores, tie);
      scalars.rises = std::max(scalars.rises, rises.monotone);
      scalars.rises_any_split = std::max(scalars.rises_any_split, rises.any_split);
    };
    for (const std::vector<TokenRun>& shard : shards_) {
      work.shard_scores.clear();
      for (const TokenRun& run : shard) {
        const std::size_t begin = work.shard_scores.size();
        for_each_range([&](std::int64_t first, std::int64_t count, std::int64_t place) {
          const std::int64_t steps = std::max<std::int64_t>(0, (first - run.begin + run.step - 1) / run.step);
          const std::int64_t end = std::min(run.end, first + count);
          for (std::int64_t token = run.begin + steps * run.step; token < end; token += run.step) {
            work.shard_scores.push_back(static_cast<double>(work.score[place + token - first]));
          }
        });
        count(std::span<const double>(work.shard_scores).subspan(begin));
      }
      if (shard.size() > 1) count(work.shard_scores);
    }
  }

  static void set(WideValues& values, std::int64_t index, Real value) {
    values.value[index] = static_cast<double>(value);
    if (!values.tail.empty() && std::isfinite(values.value[index])) {
      values.tail[index] = static_cast<double>(value - static_cast<Real>(values.value[index]));
    }
  }

  const Problem& problem_;
  const Visibility& visibility_;
  const TensorView& q_;
  ForwardAnswer& answer_;
  std::vector<KeyRange> seen_;                 // by the row at hand
  std::vector<std::vector<TokenRun>> shards_;  // by rank of the ring
  Real score_max_ = 0, key_score_max_ = 0, weight_sum_ = 0;
};

template <class Real>
ForwardAnswer forward_in(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                         const std::vector<std::int64_t>& rows, int threads) {
  ForwardAnswer answer = empty_answer(problem, rows, sizeof(Real) > sizeof(double));
  answer.unit_roundoff = static_cast<double>(std::numeric_limits<Real>::epsilon()) / 2;
  const Visibility visibility(problem);
  constexpr std::int64_t kRowsPerTile = 16;
  const std::int64_t n = problem.seqlen_q;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h_kv = 0; h_kv < problem.heads_kv; ++h_kv) {
      const std::int64_t h_first = b * problem.heads_q + h_kv * problem.heads_per_group();
      const auto [first, last] = rows_between(answer, h_first * n, (h_first + problem.heads_per_group()) * n);
      if (first == last) continue;
      const KeysAndValues<Real> head = widen_head<Real>(problem, k, v, b, h_kv);
      parallel_for((last - first + kRowsPerTile - 1) / kRowsPerTile, threads,
                   [&, first = first, last = last](auto tile) {
                     thread_local RowWorkspace<Real> work;
                     RowForward<Real> forward(problem, visibility, q, answer);
                     const std::int64_t begin = first + tile * kRowsPerTile, end = std::min(begin + kRowsPerTile, last);
                     for (std::int64_t at = begin; at < end; ++at) {
                       const std::int64_t row = answer.row_at(static_cast<std::size_t>(at));
                       forward.row(head, b, row / n % problem.heads_q, row % n, at, work);
                     }
                   });
    }
  }
  return answer;
}

ForwardAnswer forward_of(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                         const std::vector<std::int64_t>& rows, int threads) {
  assert_that(q.shape == problem.shape_q() && k.shape == problem.shape_k() && v.shape == problem.shape_v(),
              "the oracle's tensors have the problem's shapes");
  assert_that(!problem.has_sink || problem.sink != nullptr, "a problem with a sink shows its logits");
  return problem.dtype == Dtype::kF64 ? forward_in<long double>(problem, q, k, v, rows, threads)
                                      : forward_in<double>(problem, q, k, v, rows, threads);
}

}  // namespace

ForwardAnswer attention_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                int threads) {
  return forward_of(problem, q, k, v, {}, threads);
}

ForwardAnswer attention_forward_of_rows(const Problem& problem, const TensorView& q, const TensorView& k,
                                        const TensorView& v, const std::vector<std::int64_t>& rows, int threads) {
  assert_that(!rows.empty(), "an answer of no row means one of all rows");
  return forward_of(problem, q, k, v, rows, threads);
}

}  // namespace ringproof

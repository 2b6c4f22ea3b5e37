// The two-pass formula on one block of keys, and the weighted merge of two blocks' answers:
//
//   lse = ln(e^lse_a + e^lse_b),   O = e^(lse_a - lse) O_a + e^(lse_b - lse) O_b
//
// written with the larger exponent subtracted, so that exp never overflows.

#include "reference/oracle/partial_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// One (batch, head), widened once.
struct Block {
  std::vector<double> k, v;  // [seqlen_kv][dim]
};

template <class T>
void widen_row(const TensorView& tensor, std::int64_t b, std::int64_t h, std::int64_t s, double* to) {
  const T* from = static_cast<const T*>(tensor.data) + tensor.offset(b, h, s, 0);
  for (std::int64_t d = 0; d < tensor.shape[3]; ++d) to[d] = from[d * tensor.stride[3]];
}

std::vector<double> widen(const TensorView& tensor, std::int64_t b, std::int64_t h) {
  std::vector<double> values(static_cast<std::size_t>(tensor.shape[2] * tensor.shape[3]));
  double* to = values.data();
  for (std::int64_t s = 0; s < tensor.shape[2]; ++s, to += tensor.shape[3]) {
    if (tensor.dtype == Dtype::kF32) {
      widen_row<float>(tensor, b, h, s, to);
    } else if (tensor.dtype == Dtype::kF64) {
      widen_row<double>(tensor, b, h, s, to);
    } else {
      for (std::int64_t d = 0; d < tensor.shape[3]; ++d) to[d] = tensor.load(b, h, s, d);
    }
  }
  return values;
}

// The keys a row sees: those of its band whose tile is visible.
void find_seen(const LocalProblem& problem, std::int64_t row, std::vector<std::int64_t>& seen) {
  seen.clear();
  const KeyRange in_band = visible_keys(problem.band, row, problem.seqlen_kv);
  const std::int64_t tiles = problem.block_mask == nullptr ? 0 : (problem.seqlen_kv - 1) / problem.block_kv + 1;
  for (std::int64_t key = in_band.begin; key < in_band.end; ++key) {
    const bool is_visible = problem.block_mask == nullptr ||
                            problem.block_mask[row / problem.block_q * tiles + key / problem.block_kv] != 0;
    if (is_visible) seen.push_back(key);
  }
}

// Each sum runs over d in order; four keys side by side, since one sum alone waits for its own additions.
void find_scores(const Block& block, const double* q, std::int64_t d, const std::vector<std::int64_t>& seen,
                 std::vector<double>& dots) {
  constexpr std::size_t kKeys = 4;
  for (std::size_t j = 0; j < seen.size(); j += kKeys) {
    const std::size_t count = std::min(kKeys, seen.size() - j);
    const double* k[kKeys];
    for (std::size_t i = 0; i < kKeys; ++i) k[i] = block.k.data() + seen[j + std::min(i, count - 1)] * d;
    double dot[kKeys]{};
    for (std::int64_t c = 0; c < d; ++c) {
      for (std::size_t i = 0; i < kKeys; ++i) dot[i] += q[c] * k[i][c];
    }
    std::copy_n(dot, count, dots.begin() + static_cast<std::ptrdiff_t>(j));
  }
}

void partial_row(const LocalProblem& problem, const Block& block, const double* q,
                 const std::vector<std::int64_t>& seen, double sink, std::vector<double>& weights,
                 std::vector<double>& out, double& lse) {
  const std::int64_t d = problem.head_dim_qk, dv = problem.head_dim_v;
  std::fill(out.begin(), out.end(), 0.0);
  lse = sink;
  if (seen.empty()) return;
  weights.resize(seen.size());
  find_scores(block, q, d, seen, weights);
  double maximum = sink;
  for (double& weight : weights) {
    weight *= problem.softmax_scale;
    if (problem.softcap != 0) weight = problem.softcap * std::tanh(weight / problem.softcap);
    maximum = std::max(maximum, weight);
  }
  double sum = sink == kMinusInfinity ? 0 : std::exp(sink - maximum);
  for (double& weight : weights) sum += weight = std::exp(weight - maximum);
  for (std::size_t j = 0; j < seen.size(); ++j) {
    const double* v = block.v.data() + seen[j] * dv;
    for (std::int64_t c = 0; c < dv; ++c) out[c] += weights[j] * v[c];
  }
  for (double& value : out) value /= sum;
  lse = maximum + std::log(sum);
}

}  // namespace

void partial_attention(const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                       const TensorView& out, const TensorView& lse) {
  assert_that(problem.documents == 0, "partial attention takes no documents yet");
  std::vector<std::int64_t> seen;
  std::vector<double> weights, row(static_cast<std::size_t>(problem.head_dim_v));
  const std::int64_t group = problem.heads_q / problem.heads_kv;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    Block block;
    for (std::int64_t h = 0; h < problem.heads_q; ++h) {
      if (h % group == 0) block = {widen(k, b, h / group), widen(v, b, h / group)};
      const std::vector<double> queries = widen(q, b, h);
      const double sink = problem.sink == nullptr ? kMinusInfinity : problem.sink[h];
      for (std::int64_t i = 0; i < problem.seqlen_q; ++i) {
        const double* query = queries.data() + i * problem.head_dim_qk;
        double row_lse = 0;
        find_seen(problem, i, seen);
        partial_row(problem, block, query, seen, sink, weights, row, row_lse);
        for (std::int64_t c = 0; c < problem.head_dim_v; ++c) out.store(b, h, i, c, row[c]);
        lse.store(b, h, i, 0, row_lse);
      }
    }
  }
}

void merge_partials(const TensorView& out, const TensorView& lse, const TensorView& out_b, const TensorView& lse_b) {
  for (std::int64_t b = 0; b < out.shape[0]; ++b) {
    for (std::int64_t h = 0; h < out.shape[1]; ++h) {
      for (std::int64_t i = 0; i < out.shape[2]; ++i) {
        const double one = lse.load(b, h, i, 0), other = lse_b.load(b, h, i, 0);
        const double larger = std::max(one, other);
        if (larger == kMinusInfinity) continue;
        const double weight_one = std::exp(one - larger), weight_other = std::exp(other - larger);
        const double sum = weight_one + weight_other;
        for (std::int64_t c = 0; c < out.shape[3]; ++c) {
          const double merged = (weight_one * out.load(b, h, i, c) + weight_other * out_b.load(b, h, i, c)) / sum;
          out.store(b, h, i, c, merged);
        }
        lse.store(b, h, i, 0, larger + std::log(sum));
      }
    }
  }
}

}  // namespace ringproof

// K' = c(a K),  S = c(Q K'^T),  S' = c(cap c(tanh(c(S / cap)))),  P = c(softmax([S', sink])),  O = c(P V)
//
// c() rounds to the dtype of O, what every operation of an eager framework does to its result. The sink's logit is one
// score more, whose probability is dropped. Stored fp8 is first multiplied by its descale factor, c(descale Q). Inside
// one operation sums are fp32 (double for fp64 storage).

#include "reference/judge/eager_baseline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

template <class T>
struct EagerHead {
  std::vector<T> k, v;  // K scaled and rounded; [seqlen_kv][dim]
  T sink;               // -inf: none
};

// c(c(descale x) factor); either rounding leaves a number as it is where its factor is 1.
template <class T>
std::vector<T> rounded_matrix(const TensorView& tensor, std::int64_t b, std::int64_t h, double descale, double factor,
                              Dtype dtype) {
  std::vector<T> values;
  values.reserve(static_cast<std::size_t>(tensor.shape[2] * tensor.shape[3]));
  for (std::int64_t s = 0; s < tensor.shape[2]; ++s) {
    for (std::int64_t d = 0; d < tensor.shape[3]; ++d) {
      values.push_back(static_cast<T>(round_to(dtype, round_to(dtype, tensor.load(b, h, s, d) * descale) * factor)));
    }
  }
  return values;
}

template <class T>
void eager_row(const Problem& p, Dtype dtype, const EagerHead<T>& head, const T* q,
               const std::vector<std::int64_t>& seen, std::vector<T>& weights, std::vector<T>& sums, double* out) {
  const auto rounded = [dtype](T value) { return static_cast<T>(round_to(dtype, value)); };
  const T cap = static_cast<T>(p.softcap);
  const auto capped = [&](T score) {
    return cap == 0 ? score : rounded(cap * rounded(std::tanh(rounded(score / cap))));
  };
  weights.clear();
  T maximum = head.sink;
  for (const std::int64_t j : seen) {
    const T* k = head.k.data() + j * p.head_dim_qk;
    T score = 0;
    for (std::int64_t d = 0; d < p.head_dim_qk; ++d) score += q[d] * k[d];
    weights.push_back(capped(rounded(score)));
    maximum = std::max(maximum, weights.back());
  }
  T sum = std::exp(head.sink - maximum);
  for (T& weight : weights) sum += weight = std::exp(weight - maximum);
  std::fill(sums.begin(), sums.end(), T{0});
  for (std::size_t at = 0; at < seen.size(); ++at) {
    const T* v = head.v.data() + seen[at] * p.head_dim_v;
    const T weight = rounded(weights[at] / sum);
    for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += weight * v[c];
  }
  for (std::size_t c = 0; c < sums.size(); ++c) out[c] = rounded(sums[c]);
}

template <class T>
std::vector<double> eager(const Problem& p, const Inputs& inputs, Dtype dtype) {
  std::vector<double> out(static_cast<std::size_t>(element_count(p.shape_out())));
  std::vector<T> weights, sums(static_cast<std::size_t>(p.head_dim_v));
  const Visibility visibility(p);
  std::vector<std::int64_t> seen;
  double* row_out = out.data();
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads_q; ++h) {
      const std::int64_t h_kv = h / p.heads_per_group();
      const double sink = p.has_sink ? round_to(dtype, inputs.sink[static_cast<std::size_t>(h)])
                                     : -std::numeric_limits<double>::infinity();
      const EagerHead<T> head{rounded_matrix<T>(inputs.k.view(), b, h_kv, p.descale_k, p.softmax_scale, dtype),
                              rounded_matrix<T>(inputs.v.view(), b, h_kv, p.descale_v, 1, dtype), static_cast<T>(sink)};
      const std::vector<T> q = rounded_matrix<T>(inputs.q.view(), b, h, p.descale_q, 1, dtype);
      for (std::int64_t i = 0; i < p.seqlen_q; ++i, row_out += p.head_dim_v) {
        seen.clear();
        for (const KeyRange& range : visibility.ranges(i)) {
          for (std::int64_t key = range.begin; key < range.end; ++key) seen.push_back(key);
        }
        if (seen.empty()) continue;
        eager_row(p, dtype, head, q.data() + i * p.head_dim_qk, seen, weights, sums, row_out);
      }
    }
  }
  return out;
}

}  // namespace

std::vector<double> eager_baseline(const Problem& problem, const Inputs& inputs) {
  const Dtype dtype = dtype_of_out(problem.dtype);
  return dtype == Dtype::kF64 ? eager<double>(problem, inputs, dtype) : eager<float>(problem, inputs, dtype);
}

}  // namespace ringproof

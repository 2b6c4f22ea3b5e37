// Two passes with compensated sums (Kahan 1965): scores, row sum and O each carry what their additions lost.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

template <class T>
struct Compensated {
  T sum = 0, lost = 0;
  void add(T term) {
    const T mended = term - lost, next = sum + mended;
    lost = (next - sum) - mended;
    sum = next;
  }
};

struct Kahan {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    std::vector<T> scores;
    T m = -std::numeric_limits<T>::infinity();
    for (const std::int64_t key : row.keys) {
      Compensated<T> score;
      for (std::int64_t d = 0; d < row.problem.head_dim_qk; ++d) score.add(row.q[d] * row.k.row(key)[d]);
      scores.push_back(score.sum * row.scale);
      m = std::max(m, scores.back());
    }
    const T base = std::isinf(m) ? T{0} : m;
    Compensated<T> l;
    std::vector<Compensated<T>> o(answer.out.size());
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const T p = std::exp(scores[j] - base), p_cast = row.cast_p(p);
      l.add(p);
      for (std::size_t c = 0; c < o.size(); ++c) o[c].add(p_cast * row.v.row(row.keys[j])[c]);
    }
    for (std::size_t c = 0; c < o.size(); ++c) answer.out[c] = o[c].sum / l.sum;
    answer.lse = m + std::log(l.sum);
  }
};

}  // namespace

Candidate kahan_sums() { return row_candidate("kahan_sums", {}, Kahan{}); }

}  // namespace ringproof::correct

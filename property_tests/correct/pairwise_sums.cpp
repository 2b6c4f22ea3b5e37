// Two passes with pairwise sums: a tree of additions, whose depth is declared. 40 levels hold any length there is.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

template <class T, class Term>
T pairwise(std::size_t begin, std::size_t end, const Term& term) {
  if (end - begin == 1) return term(begin);
  const std::size_t middle = begin + (end - begin) / 2;
  return pairwise<T>(begin, middle, term) + pairwise<T>(middle, end, term);
}

struct Pairwise {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    const auto d = static_cast<std::size_t>(row.problem.head_dim_qk);
    std::vector<T> weights, weights_cast;
    T m = -std::numeric_limits<T>::infinity();
    for (const std::int64_t key : row.keys) {
      const T* k = row.k.row(key);
      weights.push_back(pairwise<T>(0, d, [&](std::size_t i) { return row.q[i] * k[i]; }) * row.scale);
      m = std::max(m, weights.back());
    }
    const T base = std::isinf(m) ? T{0} : m;
    for (T& weight : weights) {
      weight = std::exp(weight - base);
      weights_cast.push_back(row.cast_p(weight));
    }
    const T l = pairwise<T>(0, weights.size(), [&](std::size_t j) { return weights[j]; });
    for (std::size_t c = 0; c < answer.out.size(); ++c) {
      const auto term = [&](std::size_t j) { return weights_cast[j] * row.v.row(row.keys[j])[c]; };
      answer.out[c] = pairwise<T>(0, weights.size(), term) / l;
    }
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.accumulation_depth = 40;
  return declared;
}

}  // namespace

Candidate pairwise_sums() { return row_candidate("pairwise_sums", {.arithmetic = arithmetic}, Pairwise{}); }

}  // namespace ringproof::correct

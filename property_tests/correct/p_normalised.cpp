// P is divided by its sum before it is cast to storage, and O is not divided any more: declared.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct Normalised {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    std::vector<T> weights;
    T m = -std::numeric_limits<T>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      weights.push_back(row.score(key));
      m = std::max(m, weights.back());
    }
    const T base = std::isinf(m) ? T{0} : m;
    for (T& weight : weights) l += weight = std::exp(weight - base);
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const T p_cast = row.cast_p(weights[j] / l);
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += p_cast * row.v.row(row.keys[j])[c];
    }
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.p_is_normalised = true;
  return declared;
}

}  // namespace

Candidate p_normalised() { return row_candidate("p_normalised", {.arithmetic = arithmetic}, Normalised{}); }

}  // namespace ringproof::correct

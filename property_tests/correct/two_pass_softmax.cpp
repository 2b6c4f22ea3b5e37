// The textbook: all scores, their maximum, P divided by its sum, then P V, with P never narrower than fp32 (declared).

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct TwoPass {
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
      const T p = weights[j] / l;
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += p * row.v.row(row.keys[j])[c];
    }
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype storage) {
  Arithmetic declared;
  declared.p_dtype = storage == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
  declared.p_is_normalised = true;
  return declared;
}

}  // namespace

Candidate two_pass_softmax() { return row_candidate("two_pass_softmax", {.arithmetic = arithmetic}, TwoPass{}); }

}  // namespace ringproof::correct

// Double throughout, two passes, and one rounding to storage at the end: declared as double arithmetic, and once more
// as if its exponential were off by a twentieth.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct InDouble {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    std::vector<T> weights;
    T m = -std::numeric_limits<T>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      weights.push_back(dot(row.q, row.k.row(key), row.problem.head_dim_qk) * row.problem.softmax_scale);
      m = std::max(m, weights.back());
    }
    const T base = std::isinf(m) ? T{0} : m;
    for (T& weight : weights) l += weight = std::exp(weight - base);
    for (std::size_t j = 0; j < weights.size(); ++j) {
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += weights[j] * row.v.row(row.keys[j])[c];
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared = resolve({}, Dtype::kF64);
  declared.operand_dtype = Dtype::kDefault;
  return declared;
}

Arithmetic coarse_arithmetic(Dtype storage) {
  Arithmetic declared = arithmetic(storage);
  declared.exp_error_relative = 0.05;
  return declared;
}

}  // namespace

Candidate double_rounded_once() {
  return row_candidate("double_rounded_once", {.arithmetic = arithmetic, .in_double = true}, InDouble{});
}

Candidate exp_declared_coarse() {
  return row_candidate("exp_declared_coarse", {.arithmetic = coarse_arithmetic, .in_double = true}, InDouble{});
}

}  // namespace ringproof::correct

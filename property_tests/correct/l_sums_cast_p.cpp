// The row sum adds P after its cast, as FlashInfer's prefill does: declared. Undeclared it is a mutant.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct SumsCast {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    T m = -std::numeric_limits<T>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      const T score = row.score(key), m_new = std::max(m, score);
      const T base = std::isinf(m_new) ? T{0} : m_new;
      const T rescale = std::exp(m - base), p_cast = row.cast_p(std::exp(score - base));
      m = m_new;
      l = l * rescale + p_cast;
      for (std::size_t c = 0; c < answer.out.size(); ++c) {
        answer.out[c] = answer.out[c] * rescale + p_cast * row.v.row(key)[c];
      }
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.l_sums_cast_p = true;
  return declared;
}

}  // namespace

Candidate l_sums_cast_p() {
  return row_candidate("l_sums_cast_p",
                       {.dtypes = bit_of(Dtype::kF16) | bit_of(Dtype::kBf16), .arithmetic = arithmetic}, SumsCast{});
}

}  // namespace ringproof::correct

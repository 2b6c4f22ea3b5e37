// Operands rounded to TF32 before the products, as tensor cores take fp32: declared. P is cast to TF32, too.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

float tf32(float x) { return static_cast<float>(round_to(Dtype::kTf32, x)); }

struct Tf32 {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    float m = -std::numeric_limits<float>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      float product = 0;
      for (std::int64_t d = 0; d < row.problem.head_dim_qk; ++d) product += tf32(row.q[d]) * tf32(row.k.row(key)[d]);
      const float score = product * row.scale, m_new = std::max(m, score);
      const float base = std::isinf(m_new) ? 0.0f : m_new;
      const float rescale = std::exp(m - base), p = std::exp(score - base), p_cast = tf32(p);
      m = m_new;
      l = l * rescale + p;
      for (std::size_t c = 0; c < answer.out.size(); ++c) {
        answer.out[c] = answer.out[c] * rescale + p_cast * tf32(row.v.row(key)[c]);
      }
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.operand_dtype = Dtype::kTf32;
  declared.p_dtype = Dtype::kTf32;
  return declared;
}

}  // namespace

Candidate tf32_operands() {
  return row_candidate("tf32_operands", {.dtypes = bit_of(Dtype::kF32), .arithmetic = arithmetic}, Tf32{});
}

}  // namespace ringproof::correct

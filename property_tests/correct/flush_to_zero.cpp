// fp32 arithmetic that flushes every subnormal operand and result to zero, as GPUs do under -ftz=true.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

float flushed(float x) { return std::fabs(x) < 0x1p-126f ? 0.0f : x; }

struct Flushing {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    float m = -std::numeric_limits<float>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      float product = 0;
      for (std::int64_t d = 0; d < row.problem.head_dim_qk; ++d) {
        product = flushed(product + flushed(flushed(row.q[d]) * flushed(row.k.row(key)[d])));
      }
      const float score = flushed(product * row.scale), m_new = std::max(m, score);
      const float base = std::isinf(m_new) ? 0.0f : m_new;
      const float rescale = flushed(std::exp(flushed(m - base))), p = flushed(std::exp(flushed(score - base)));
      const float p_cast = flushed(row.cast_p(p));
      m = m_new;
      l = flushed(flushed(l * rescale) + p);
      for (std::size_t c = 0; c < answer.out.size(); ++c) {
        answer.out[c] = flushed(flushed(answer.out[c] * rescale) + flushed(p_cast * flushed(row.v.row(key)[c])));
      }
    }
    for (T& o : answer.out) o = flushed(o / l);
    answer.lse = m + std::log(l);
  }
};

}  // namespace

Candidate flush_to_zero() {
  return row_candidate("flush_to_zero", {.dtypes = bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16)},
                       Flushing{});
}

}  // namespace ringproof::correct

// The running maximum is only replaced when it has risen by more than 8 in log2 (FlashAttention-4): until then weights
// grow up to 2^8, which every P format here holds.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct Lazy {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    constexpr T kLag = static_cast<T>(8 * 0.6931471805599453);
    T m = -std::numeric_limits<T>::infinity(), l = 0;
    for (std::size_t at = 0; at < row.keys.size(); at += 16) {
      const std::span<const std::int64_t> tile = tile_of(row.keys, at, 16);
      T m_tile = m;
      for (const std::int64_t key : tile) m_tile = std::max(m_tile, row.score(key));
      if (m + kLag < m_tile) {
        const T rescale = std::exp(m - m_tile);
        l *= rescale;
        for (T& o : answer.out) o *= rescale;
        m = m_tile;
      }
      const T base = std::isinf(m) ? T{0} : m;
      for (const std::int64_t key : tile) {
        const T p = std::exp(row.score(key) - base), p_cast = row.cast_p(p);
        l += p;
        for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += p_cast * row.v.row(key)[c];
      }
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

}  // namespace

Candidate lazy_rescale() { return row_candidate("lazy_rescale", {}, Lazy{}); }

}  // namespace ringproof::correct

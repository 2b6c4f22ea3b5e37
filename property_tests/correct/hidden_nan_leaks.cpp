// Hidden keys get the weight 0 and are multiplied all the same, so that a NaN or an infinity in a hidden slot leaks: as
// most published kernels do inside a worked tile. Not claimed to be safe.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct Leaking {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    const std::int64_t count = row.problem.seqlen_kv;
    std::vector<T> weights(static_cast<std::size_t>(count), -std::numeric_limits<T>::infinity());
    T m = -std::numeric_limits<T>::infinity(), l = 0;
    for (const std::int64_t key : row.keys) {
      const T score = row.score(key);
      weights[static_cast<std::size_t>(key)] = score;
      m = std::max(m, score);
    }
    const T base = std::isinf(m) ? T{0} : m;
    for (std::int64_t key = 0; key < count; ++key) {
      const T p = std::exp(weights[static_cast<std::size_t>(key)] - base), p_cast = row.cast_p(p);
      l += p;
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += p_cast * row.v.row(key)[c];
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

}  // namespace

Candidate hidden_nan_leaks() {
  return row_candidate("hidden_nan_leaks", {.not_claimed = kNanSafeUnseen | kNanSafeHidden}, Leaking{});
}

}  // namespace ringproof::correct

// Partials merged one after another in the short form of ring-flash-attention, which is declared:
//
//   O -= sigmoid(lse_b - lse) (O - O_b),   lse = max + log1p(e^-|lse - lse_b|)

#include "property_tests/correct/splits.h"

namespace ringproof::correct {
namespace {

struct Lerp {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    for (const Answer<T>& partial : partials_of(row)) {
      if (partial.lse == -std::numeric_limits<T>::infinity()) continue;
      if (answer.lse == -std::numeric_limits<T>::infinity()) {
        answer = partial;
        continue;
      }
      const T sigmoid = T{1} / (T{1} + std::exp(answer.lse - partial.lse));
      for (std::size_t c = 0; c < answer.out.size(); ++c) {
        answer.out[c] -= sigmoid * (answer.out[c] - partial.out[c]);
      }
      const T apart = std::fabs(answer.lse - partial.lse);
      answer.lse = std::max(answer.lse, partial.lse) + std::log1p(std::exp(-apart));
    }
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.merges = kSplits - 1;
  declared.merge_is_lerp = true;
  return declared;
}

}  // namespace

Candidate lerp_merge() { return row_candidate("lerp_merge", {.arithmetic = arithmetic}, Lerp{}); }

}  // namespace ringproof::correct

// The lerp merge with lse -= logsigmoid(lse - lse_b), as ring attention is published; declared as a lerp merge.

#include "property_tests/correct/splits.h"

namespace ringproof::correct {
namespace {

template <class T>
T log_sigmoid(T x) {
  return std::min(x, T{0}) - std::log1p(std::exp(-std::fabs(x)));
}

struct LogSigmoid {
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
      answer.lse -= log_sigmoid(answer.lse - partial.lse);
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

Candidate log_sigmoid_merge() { return row_candidate("log_sigmoid_merge", {.arithmetic = arithmetic}, LogSigmoid{}); }

}  // namespace ringproof::correct

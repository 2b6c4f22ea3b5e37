// Split-KV (flash decoding): five splits, two of them empty, then one combine step with M = max lse_b:
//
//   w_b = e^(lse_b - M),   O = sum w_b O_b / sum w_b,   lse = M + ln sum w_b

#include "property_tests/correct/splits.h"

namespace ringproof::correct {
namespace {

struct SplitKv {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    const std::vector<Answer<T>> partials = partials_of(row);
    for (const Answer<T>& partial : partials) answer.lse = std::max(answer.lse, partial.lse);
    T sum = 0;
    for (const Answer<T>& partial : partials) {
      const T weight = std::isinf(partial.lse) ? T{0} : std::exp(partial.lse - answer.lse);
      sum += weight;
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += weight * partial.out[c];
    }
    for (T& value : answer.out) value /= sum;
    answer.lse += std::log(sum);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.merges = kSplits - 1;
  return declared;
}

}  // namespace

Candidate split_kv_empty_splits() {
  return row_candidate("split_kv_empty_splits", {.arithmetic = arithmetic}, SplitKv{});
}

}  // namespace ringproof::correct

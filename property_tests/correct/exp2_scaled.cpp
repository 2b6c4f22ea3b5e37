// exp2 instead of exp, the scale folded with log2 e into one constant; every product rounded before it is added.

#include "property_tests/correct/base_two.h"

namespace ringproof::correct {
namespace {

struct ExpTwo {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    base_two_softmax(
        row, answer, [](T x) { return std::exp2(x); }, [](T x, T y, T z) { return x * y + z; });
  }
};

}  // namespace

Candidate exp2_scaled() { return row_candidate("exp2_scaled", {}, ExpTwo{}); }

}  // namespace ringproof::correct

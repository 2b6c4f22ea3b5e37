// exp2 with the scale folded in, and a fused multiply-add wherever a product is added: what compilers make of CUDA.

#include "property_tests/correct/base_two.h"

namespace ringproof::correct {
namespace {

struct Fused {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    base_two_softmax(
        row, answer, [](T x) { return std::exp2(x); }, [](T x, T y, T z) { return std::fma(x, y, z); });
  }
};

}  // namespace

Candidate fma_everywhere() { return row_candidate("fma_everywhere", {}, Fused{}); }

}  // namespace ringproof::correct

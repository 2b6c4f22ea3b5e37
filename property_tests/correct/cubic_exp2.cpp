// 2^x = 2^floor(x) p(x - floor(x)) with a cubic p, as kernels do that find the exponential unit too slow
// (FlashAttention-4). p is the minimax cubic for relative error with p(0) = 1, so that 2^0 is exact; its error is
// 8.56e-5 (Remez, on 4,001 points of [0, 1]) and 3 roundings: declared as 8.8e-5.

#include "property_tests/correct/base_two.h"

namespace ringproof::correct {
namespace {

float cubic(float x) {
  if (!(-126 <= x)) return std::isnan(x) ? x : 0.0f;
  const float whole = std::floor(x), rest = x - whole;
  const float p = 1.0f + rest * (0x1.63e658p-1f + rest * (0x1.d2378ap-3f + rest * 0x1.3baaa6p-4f));
  return std::ldexp(p, static_cast<int>(whole));
}

struct Cubic {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    base_two_softmax(
        row, answer, [](T x) { return static_cast<T>(cubic(static_cast<float>(x))); },
        [](T x, T y, T z) { return x * y + z; });
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.exp_error_relative = 8.8e-5;
  return declared;
}

}  // namespace

Candidate cubic_exp2() {
  return row_candidate(
      "cubic_exp2",
      {.dtypes = bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16), .arithmetic = arithmetic}, Cubic{});
}

}  // namespace ringproof::correct

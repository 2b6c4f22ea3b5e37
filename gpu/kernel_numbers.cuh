#pragma once

// Small things about numbers that all kernels say alike.

#include <type_traits>

#include "gpu/simt/ptx.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

/// b if it is larger, and never because it is NaN: a NaN score must not become the maximum it is subtracted from (it
/// reaches l and O through its own exponential).
template <class T>
__device__ inline T larger(T a, T b) {
  return b > a ? b : a;
}

/// A stored element as fp32: exact.
template <class T>
__device__ inline float widened(T x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return to_float(x);
  }
}

/// fp32 as a stored element, rounded to nearest.
template <class T>
__device__ inline T narrowed(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return from_float<T>(x);
  }
}

/// sum += factor x for four neighbouring columns: the step of both products, in the form compilers vectorise best.
__device__ inline void add_multiple(float* sum, float factor, const float* x) {
  for (int e = 0; e < 4; ++e) sum[e] += factor * x[e];
}

}  // namespace ringproof::SIMT_BACKEND

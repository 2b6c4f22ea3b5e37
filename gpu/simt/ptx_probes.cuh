#pragma once

// One small kernel per wrapper of gpu/simt/ptx.h, for tests: every thread reads its own `kIn` words, calls the wrapper,
// and writes its own `kOut` words. Words are raw bits, so that one test can compare both sides bit for bit on anything.

#include <cstdint>
#include <cstring>

#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

template <class T>
__device__ inline T from_bits(const std::uint32_t* words) {
  T value;
  memcpy(&value, words, sizeof(T));
  return value;
}

template <class T>
__device__ inline void to_bits(std::uint32_t* words, T value) {
  memcpy(words, &value, sizeof(T));
}

/// The words of the running thread: `count` each.
template <class Word>
__device__ inline Word* own_words(Word* words, int count) {
  return words + threadIdx.x * count;
}

/// Words in: a (4), b (2), c (4). Words out: d (4).
template <class T>
__global__ void probe_mma_m16n8k16(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t* const x = own_words(in, 10);
  const std::uint32_t a[4] = {x[0], x[1], x[2], x[3]}, b[2] = {x[4], x[5]};
  float c[4], d[4];
  for (int i = 0; i < 4; ++i) c[i] = from_bits<float>(x + 6 + i);
  mma_m16n8k16<T>(d, a, b, c);
  mma_m16n8k16<T>(c, a, b, c);  // d may be c
  for (int i = 0; i < 4; ++i) to_bits(own_words(out, 8) + i, d[i]);
  for (int i = 0; i < 4; ++i) to_bits(own_words(out, 8) + 4 + i, c[i]);
}

/// Words in: a (2), b (2), c (4). Words out: d (4).
__global__ void probe_mma_m8n8k4_f64(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t* const x = own_words(in, 8);
  const double c[2] = {from_bits<double>(x + 4), from_bits<double>(x + 6)};
  double d[2];
  mma_m8n8k4_f64(d, from_bits<double>(x), from_bits<double>(x + 2), c);
  to_bits(own_words(out, 4), d[0]);
  to_bits(own_words(out, 4) + 2, d[1]);
}

/// Words in: this lane's 16-byte row (4). Words out: the fragments of x4, x4_trans, x2, x2_trans (4 + 4 + 2 + 2). The
/// row of lane l is stored in place 5 l mod 32, so that rows do not lie in order.
__global__ void probe_ldmatrix(const std::uint32_t* in, std::uint32_t* out) {
  std::uint32_t(*const rows)[4] = reinterpret_cast<std::uint32_t(*)[4]>(dynamic_smem());
  std::uint32_t* const row = rows[threadIdx.x * 5 % 32];
  for (int i = 0; i < 4; ++i) row[i] = own_words(in, 4)[i];
  __syncthreads();
  std::uint32_t x4[4], x4_trans[4], x2[2], x2_trans[2];
  ldmatrix_x4(x4, row);
  ldmatrix_x4_trans(x4_trans, row);
  ldmatrix_x2(x2, row);
  ldmatrix_x2_trans(x2_trans, row);
  std::uint32_t* const y = own_words(out, 12);
  for (int i = 0; i < 4; ++i) {
    y[i] = x4[i];
    y[4 + i] = x4_trans[i];
  }
  for (int i = 0; i < 2; ++i) {
    y[8 + i] = x2[i];
    y[10 + i] = x2_trans[i];
  }
}

/// Words in: 8, of which copies of 16, 8 and 4 bytes take the first 7. Words out: the same after the wait (8, the last
/// one from a copy that takes nothing).
__global__ void probe_cp_async(const std::uint32_t* in, std::uint32_t* out) {
  std::uint32_t* const shared = reinterpret_cast<std::uint32_t*>(dynamic_smem()) + threadIdx.x * 8;
  const std::uint32_t* const x = own_words(in, 8);
  cp_async_16(shared, x);
  cp_async_commit();
  cp_async_8(shared + 4, x + 4);
  cp_async_4(shared + 6, x + 6);
  cp_async_4(shared + 7, x + 7, false);
  cp_async_commit();
  cp_async_wait<0>();
  for (int i = 0; i < 8; ++i) own_words(out, 8)[i] = shared[i];
}

/// Words in: one. Words out: exp2_approx of it.
__global__ void probe_exp2_approx(const std::uint32_t* in, std::uint32_t* out) {
  to_bits(own_words(out, 1), exp2_approx(from_bits<float>(own_words(in, 1))));
}

/// Words in: two floats. Words out: both packed as bf16; as fp16; what from_float and to_float make of the first, for
/// bf16 and fp16; to_float of the lower half of the second word, for bf16 and fp16.
__global__ void probe_conversions(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t* const x = own_words(in, 2);
  const float low = from_bits<float>(x), high = from_bits<float>(x + 1);
  std::uint32_t* const y = own_words(out, 6);
  y[0] = pack<bf16>(low, high);
  y[1] = pack<fp16>(low, high);
  to_bits(y + 2, to_float(from_float<bf16>(low)));
  to_bits(y + 3, to_float(from_float<fp16>(low)));
  const std::uint16_t half = static_cast<std::uint16_t>(x[1]);
  bf16 b;
  fp16 f;
  memcpy(static_cast<void*>(&b), &half, sizeof(half));
  memcpy(static_cast<void*>(&f), &half, sizeof(half));
  to_bits(y + 4, to_float(b));
  to_bits(y + 5, to_float(f));
}

/// Two warps hand words on through shared memory: warp 1 arrives at one barrier and syncs at the other, warp 0 the
/// other way round. Words in: one. Words out: the word of the same lane of the other warp.
__global__ void probe_named_barriers(const std::uint32_t* in, std::uint32_t* out) {
  volatile std::uint32_t* const shared = reinterpret_cast<std::uint32_t*>(dynamic_smem());
  const unsigned t = threadIdx.x;
  if (t < 32) {
    barrier_sync(1, 64);
    out[t] = shared[t + 32];
    shared[t] = in[t];
    barrier_arrive(2, 64);
  } else {
    shared[t] = in[t];
    barrier_arrive(1, 64);
    barrier_sync(2, 64);
    out[t] = shared[t - 32];
  }
}

/// Words in: one. Words out: unsigned sum, max, min, exchange and compare-and-swap on cells of its own block.
__global__ void probe_atomics(const std::uint32_t* in, std::uint32_t* out) {
  std::uint32_t* const x = own_words(out, 5);
  const std::uint32_t value = *own_words(in, 1);
  x[0] = x[1] = x[2] = x[3] = x[4] = 77;
  atomicAdd(&x[0], value);
  atomicMax(&x[1], value);
  atomicMin(&x[2], value);
  atomicExch(&x[3], value);
  atomicCAS(&x[4], 77u, value);
}

}  // namespace ringproof::SIMT_BACKEND

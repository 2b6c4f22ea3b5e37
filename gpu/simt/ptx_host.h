#pragma once

#include <cstdint>
#include <type_traits>

#include "gpu/simt/float16.h"
#include "gpu/simt/runtime.h"

/// The host side of gpu/simt/ptx.h. What an instruction does is compiled once, in ptx_host.cpp and the runtime.
namespace ringproof::simt::host {

void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c, const Site& site);
void mma_fp16(float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c, const Site& site);

template <class T>
void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], const float (&c)[4],
                  Site site = Site::current()) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, fp16>);
  if constexpr (std::is_same_v<T, bf16>) {
    mma_bf16(d, a, b, c, site);
  } else {
    mma_fp16(d, a, b, c, site);
  }
}

void mma_m8n8k4_f64(double (&d)[2], double a, double b, const double (&c)[2], Site site = Site::current());

void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, Site site = Site::current());
void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, Site site = Site::current());
void ldmatrix_x2(std::uint32_t (&r)[2], const void* row, Site site = Site::current());
void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row, Site site = Site::current());

inline void cp_async_16(void* shared, const void* global, bool take = true, Site site = Site::current()) {
  start_async_copy(shared, take ? global : nullptr, 16, site);
}
inline void cp_async_8(void* shared, const void* global, bool take = true, Site site = Site::current()) {
  start_async_copy(shared, take ? global : nullptr, 8, site);
}
inline void cp_async_4(void* shared, const void* global, bool take = true, Site site = Site::current()) {
  start_async_copy(shared, take ? global : nullptr, 4, site);
}
inline void cp_async_commit(Site site = Site::current()) { commit_async_copies(site); }
template <int N>
void cp_async_wait(Site site = Site::current()) {
  static_assert(N >= 0);
  wait_for_async_copies(N, site);
}

inline void barrier_sync(int id, int thread_count, Site site = Site::current()) {
  named_barrier(id, thread_count, true, site);
}
inline void barrier_arrive(int id, int thread_count, Site site = Site::current()) {
  named_barrier(id, thread_count, false, site);
}

inline int anew(int x) { return x; }

float exp2_approx(float x);

}  // namespace ringproof::simt::host

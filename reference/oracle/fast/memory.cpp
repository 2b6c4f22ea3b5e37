#include "reference/oracle/fast/memory.h"

#include <algorithm>
#include <cstring>

#include "reference/spec/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace ringproof {

namespace {
[[maybe_unused]] constexpr std::uintptr_t kHugePage = 2 << 20;
}

template <class T>
Aligned<T> aligned_memory(std::int64_t count) {
  Aligned<T> memory = hwy::AllocateAligned<T>(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)));
  if (!memory) throw Error("no memory for the oracle's scratch; free some or choose a shorter case");
#if defined(__linux__)
  // Streams of many megabytes: pages of 2 MiB save the translation of addresses.
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory.get()) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = reinterpret_cast<std::uintptr_t>(memory.get() + count) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish, no more
#endif
  return memory;
}

template <class T>
Aligned<T> aligned_zeros(std::int64_t count) {
  Aligned<T> memory = aligned_memory<T>(count);
  std::memset(memory.get(), 0, static_cast<std::size_t>(count) * sizeof(T));
  return memory;
}

template Aligned<double> aligned_memory(std::int64_t);
template Aligned<double> aligned_zeros(std::int64_t);
template Aligned<float> aligned_zeros(std::int64_t);
template Aligned<std::uint32_t> aligned_zeros(std::int64_t);

#if defined(__SSE2__)
FlushSubnormals::FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // FTZ and DAZ
FlushSubnormals::~FlushSubnormals() { _mm_setcsr(before_); }
#else
FlushSubnormals::FlushSubnormals() = default;
FlushSubnormals::~FlushSubnormals() = default;
#endif

}  // namespace ringproof

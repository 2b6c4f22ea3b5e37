#pragma once

#include <hwy/aligned_allocator.h>

#include <cstdint>

namespace ringproof {

template <class T>
using Aligned = hwy::AlignedFreeUniquePtr<T[]>;

/// `count` zeros, aligned for the kernels. Throws Error when there is no memory.
template <class T>
Aligned<T> aligned_zeros(std::int64_t count);

/// The same, holding anything.
template <class T>
Aligned<T> aligned_memory(std::int64_t count);

/// While it lives, numbers below the normal range are taken and given as 0 on this thread: products of tiny weights
/// would cost a hundred cycles each. What that loses is part of the fast oracle's error.
class FlushSubnormals {
 public:
  FlushSubnormals();
  ~FlushSubnormals();
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_ = 0;
};

}  // namespace ringproof

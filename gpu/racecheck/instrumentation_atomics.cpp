// The atomic half of that interface. Kernels use CUDA's atomics, which the runtime tells; these are for shared
// pointers and statics of the code around them, and carried out as the strongest the caller can have asked for.

#include <cstdint>

#define RINGPROOF_FETCH(BITS, NAME)                                                                               \
  std::uint##BITS##_t __tsan_atomic##BITS##_##NAME(volatile std::uint##BITS##_t* p, std::uint##BITS##_t v, int) { \
    return __atomic_##NAME(p, v, __ATOMIC_SEQ_CST);                                                               \
  }
#define RINGPROOF_EXCHANGE_IF_EQUAL(BITS, NAME)                                                                    \
  int __tsan_atomic##BITS##_compare_exchange_##NAME(volatile std::uint##BITS##_t* p, std::uint##BITS##_t* compare, \
                                                    std::uint##BITS##_t v, int, int) {                             \
    return __atomic_compare_exchange_n(p, compare, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                  \
  }
#define RINGPROOF_ATOMICS(BITS)                                                                                     \
  std::uint##BITS##_t __tsan_atomic##BITS##_load(const volatile std::uint##BITS##_t* p, int) {                      \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                    \
  }                                                                                                                 \
  void __tsan_atomic##BITS##_store(volatile std::uint##BITS##_t* p, std::uint##BITS##_t v, int) {                   \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                       \
  }                                                                                                                 \
  std::uint##BITS##_t __tsan_atomic##BITS##_exchange(volatile std::uint##BITS##_t* p, std::uint##BITS##_t v, int) { \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                             \
  }                                                                                                                 \
  RINGPROOF_FETCH(BITS, fetch_add)                                                                                  \
  RINGPROOF_FETCH(BITS, fetch_sub)                                                                                  \
  RINGPROOF_FETCH(BITS, fetch_and)                                                                                  \
  RINGPROOF_FETCH(BITS, fetch_or)                                                                                   \
  RINGPROOF_FETCH(BITS, fetch_xor)                                                                                  \
  RINGPROOF_EXCHANGE_IF_EQUAL(BITS, strong)                                                                         \
  RINGPROOF_EXCHANGE_IF_EQUAL(BITS, weak)

extern "C" {
RINGPROOF_ATOMICS(8)
RINGPROOF_ATOMICS(16)
RINGPROOF_ATOMICS(32)
RINGPROOF_ATOMICS(64)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}
}

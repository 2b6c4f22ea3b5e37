// The interface between a compiler and its thread sanitizer, as GCC and Clang both emit it: a call per load and store,
// with the address, in front of it. Calls made while no kernel runs, or from inside the checker, are not looked at:
// kernels share inline functions with the code around them, and the linker keeps the instrumented one for all.
// memcpy, memset and memmove are called plainly by instrumented code; the linker's --wrap leads them here.

#include "gpu/racecheck/instrumentation.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gpu/simt/runtime.h"

namespace ringproof::racecheck {
namespace {

constinit Watcher* told = nullptr;

inline void tell(const void* address, std::size_t bytes, Touch touch, const void* return_address) {
  Watcher* const watcher = told;
  const int thread = simt::host::thread_in_kernel_code;
  if (watcher == nullptr || thread < 0 || !watcher->is_interested(thread, address)) return;
  simt::host::thread_in_kernel_code = -1;
  watcher->touched(thread, address, bytes, touch, Places::of_code(return_address));
  simt::host::thread_in_kernel_code = thread;
}

}  // namespace

void tell_accesses_to(Watcher* watcher) { told = watcher; }

}  // namespace ringproof::racecheck

using ringproof::racecheck::tell;
using ringproof::racecheck::Touch;

#define RINGPROOF_HERE __builtin_return_address(0)
#define RINGPROOF_ACCESSES(BYTES)                                                                           \
  extern "C" void __tsan_read##BYTES(void* p) { tell(p, BYTES, Touch::kRead, RINGPROOF_HERE); }             \
  extern "C" void __tsan_write##BYTES(void* p) { tell(p, BYTES, Touch::kWrite, RINGPROOF_HERE); }           \
  extern "C" void __tsan_unaligned_read##BYTES(void* p) { tell(p, BYTES, Touch::kRead, RINGPROOF_HERE); }   \
  extern "C" void __tsan_unaligned_write##BYTES(void* p) { tell(p, BYTES, Touch::kWrite, RINGPROOF_HERE); } \
  extern "C" void __tsan_read##BYTES##_pc(void* p, void* pc) { tell(p, BYTES, Touch::kRead, pc); }          \
  extern "C" void __tsan_write##BYTES##_pc(void* p, void* pc) { tell(p, BYTES, Touch::kWrite, pc); }        \
  extern "C" void __tsan_volatile_read##BYTES(void* p) { tell(p, BYTES, Touch::kRead, RINGPROOF_HERE); }    \
  extern "C" void __tsan_volatile_write##BYTES(void* p) { tell(p, BYTES, Touch::kWrite, RINGPROOF_HERE); }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* p, std::size_t bytes) { tell(p, bytes, Touch::kRead, RINGPROOF_HERE); }
void __tsan_write_range(void* p, std::size_t bytes) { tell(p, bytes, Touch::kWrite, RINGPROOF_HERE); }

void* __real_memcpy(void* to, const void* from, std::size_t bytes);
void* __real_memmove(void* to, const void* from, std::size_t bytes);
void* __real_memset(void* to, int value, std::size_t bytes);

void* __wrap_memcpy(void* to, const void* from, std::size_t bytes) {
  tell(from, bytes, Touch::kRead, RINGPROOF_HERE);
  tell(to, bytes, Touch::kWrite, RINGPROOF_HERE);
  return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, std::size_t bytes) {
  tell(from, bytes, Touch::kRead, RINGPROOF_HERE);
  tell(to, bytes, Touch::kWrite, RINGPROOF_HERE);
  return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, std::size_t bytes) {
  tell(to, bytes, Touch::kWrite, RINGPROOF_HERE);
  return __real_memset(to, value, bytes);
}
}

RINGPROOF_ACCESSES(1)
RINGPROOF_ACCESSES(2)
RINGPROOF_ACCESSES(4)
RINGPROOF_ACCESSES(8)
RINGPROOF_ACCESSES(16)

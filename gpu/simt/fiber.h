#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGPROOF_SIMT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RINGPROOF_SIMT_ASAN 1
#endif

/// The mechanics of fibers: stacks, and the switch from one to another.
namespace ringproof::simt::host {

#ifdef RINGPROOF_SIMT_ASAN
inline constexpr bool kUnderAddressSanitizer = true;
#else
inline constexpr bool kUnderAddressSanitizer = false;
#endif

/// A place where code stands still while other code of the same OS thread runs: a fiber, or the OS thread itself.
struct Context {
  void* stack_pointer = nullptr;
  void* frame_pointer = nullptr;
  void* resume_at = nullptr;
  void (*entry)() = nullptr;           ///< of a fiber
  const void* stack_bottom = nullptr;  ///< lowest address; of an OS thread known under AddressSanitizer only
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  ///< AddressSanitizer's
};

/// A stack of 64 KiB below which lies an unmapped page, so that an overflow stops the process where it happens.
class FiberStack {
 public:
  FiberStack();
  ~FiberStack();
  FiberStack(FiberStack&& other) noexcept;
  FiberStack& operator=(FiberStack&&) = delete;

  /// A context that starts `entry` from the top of this stack; what stood on the stack before is forgotten. `entry`
  /// must never return. Stacks of one block take different `index`es.
  Context start(void (*entry)(), int index);

 private:
  char* bottom_;
};

/// Leaves `from` and continues `to`; returns when something switches back to `from`.
void switch_context(Context& from, Context& to);

/// Leaves `from`, which will never be continued.
[[noreturn]] void leave_context(Context& from, Context& to);

}  // namespace ringproof::simt::host

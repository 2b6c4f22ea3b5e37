#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

/// The mechanics of fibers: stacks, and the switch from one to another.
namespace ringproof::simt::host {

/// A place where code stands still while other code of the same OS thread runs: a fiber, or the OS thread itself.
struct Context {
  boost::context::detail::fcontext_t left_at = nullptr;
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
  /// must first call arrive() and must never return. Stacks of one block take different `index`es.
  Context start(void (*entry)(boost::context::detail::transfer_t), int index);

 private:
  char* bottom_;
};

/// Leaves `from` and continues `to`; returns when something switches back to `from`.
void switch_context(Context& from, Context& to);

/// Leaves `from`, which will never be continued.
[[noreturn]] void leave_context(Context& from, Context& to);

/// Must be the first thing a fiber does.
void arrive(boost::context::detail::transfer_t transfer);

}  // namespace ringproof::simt::host

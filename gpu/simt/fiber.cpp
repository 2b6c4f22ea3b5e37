// Boost.Context's fcontext is the bare switch (about 20 instructions, no system call); the classes above it would
// allocate per fiber. A switch hands the left context over as data, and whoever is continued stores where it was left.

#include "gpu/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "reference/spec/error.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGPROOF_SIMT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RINGPROOF_SIMT_ASAN 1
#endif
#ifdef RINGPROOF_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace ringproof::simt::host {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr std::size_t kStackBytes = 64 * 1024;

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

// AddressSanitizer has to be told of every switch: it checks addresses against the bounds of the present stack.
void announce_switch([[maybe_unused]] void** fake_stack_save, [[maybe_unused]] const Context& to) {
#ifdef RINGPROOF_SIMT_ASAN
  __sanitizer_start_switch_fiber(fake_stack_save, to.stack_bottom, to.stack_bytes);
#endif
}

void note_arrival(transfer_t transfer, [[maybe_unused]] void* fake_stack) {
  Context& left = *static_cast<Context*>(transfer.data);
  left.left_at = transfer.fctx;
#ifdef RINGPROOF_SIMT_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, &left.stack_bottom, &left.stack_bytes);
#endif
}

}  // namespace

FiberStack::FiberStack() {
  const std::size_t guard_bytes = page_bytes();
  void* base = mmap(nullptr, guard_bytes + kStackBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) throw Error("gpu/simt: mmap of a fiber stack failed");
  bottom_ = static_cast<char*>(base) + guard_bytes;
  if (mprotect(base, guard_bytes, PROT_NONE) != 0) {
    munmap(base, guard_bytes + kStackBytes);
    throw Error("gpu/simt: mprotect of a fiber stack's guard page failed");
  }
}

FiberStack::~FiberStack() {
  if (bottom_ != nullptr) munmap(bottom_ - page_bytes(), page_bytes() + kStackBytes);
}

FiberStack::FiberStack(FiberStack&& other) noexcept : bottom_(std::exchange(other.bottom_, nullptr)) {}

Context FiberStack::start(void (*entry)(transfer_t), int index) {
#ifdef RINGPROOF_SIMT_ASAN
  __asan_unpoison_memory_region(bottom_, kStackBytes);
#endif
  // Stacks are a power of two apart: without a shift the same variable of all threads falls into one cache set.
  const std::size_t shift_bytes = static_cast<std::size_t>(index % 61) * 64;
  Context context;
  context.stack_bottom = bottom_;
  context.stack_bytes = kStackBytes - shift_bytes;
  context.left_at = make_fcontext(bottom_ + context.stack_bytes, context.stack_bytes, entry);
  return context;
}

void switch_context(Context& from, Context& to) {
  announce_switch(&from.fake_stack, to);
  const transfer_t transfer = jump_fcontext(to.left_at, &from);
  note_arrival(transfer, from.fake_stack);
}

void leave_context(Context& from, Context& to) {
  announce_switch(nullptr, to);
  jump_fcontext(to.left_at, &from);
  std::abort();
}

void arrive(transfer_t transfer) { note_arrival(transfer, nullptr); }

}  // namespace ringproof::simt::host

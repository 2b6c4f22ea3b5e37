// On x86-64 a switch is ten instructions of our own. It stays within one function that every fiber calls from one
// place, so that the processor's stack of return addresses predicts right after it. Boost.Context's jump leaves that
// stack with an entry too many, and every return of the fiber continued is then mispredicted (34 ns for a __syncwarp of
// one thread, against 17). Floating-point control words are not switched: a kernel must not change them. Elsewhere, and
// under AddressSanitizer so that it stays tested, Boost.Context's fcontext does it.

#include "gpu/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "reference/spec/error.h"

#ifdef RINGPROOF_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) || defined(RINGPROOF_SIMT_ASAN)
#define RINGPROOF_SIMT_BOOST 1
#include <boost/context/detail/fcontext.hpp>
#endif

namespace ringproof::simt::host {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

#ifdef RINGPROOF_SIMT_BOOST

using boost::context::detail::transfer_t;

struct Switch {
  Context* from;
  Context* to;
};

// Whoever is continued stores where the other was left.
void note_arrival(transfer_t transfer) {
  const Switch& arrived = *static_cast<const Switch*>(transfer.data);
  arrived.from->stack_pointer = transfer.fctx;
#ifdef RINGPROOF_SIMT_ASAN
  __sanitizer_finish_switch_fiber(arrived.to->fake_stack, &arrived.from->stack_bottom, &arrived.from->stack_bytes);
#endif
}

void start_fiber(transfer_t transfer) {
  note_arrival(transfer);
  static_cast<const Switch*>(transfer.data)->to->entry();
}

void jump(Context& from, Context& to, [[maybe_unused]] bool for_good) {
  Switch leaving = {&from, &to};
  // AddressSanitizer has to be told of every switch: it checks addresses against the bounds of the present stack.
#ifdef RINGPROOF_SIMT_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
  note_arrival(boost::context::detail::jump_fcontext(to.stack_pointer, &leaving));
}

void prepare_start(Context& context, char* stack_top) {
  context.stack_pointer = boost::context::detail::make_fcontext(stack_top, context.stack_bytes, start_fiber);
}

#else

// The compiler saves the registers named as clobbered; the frame pointer cannot be named.
__attribute__((noinline)) void jump(Context& from, Context& to, bool) {
  static_assert(offsetof(Context, stack_pointer) == 0 && offsetof(Context, frame_pointer) == 8 &&
                offsetof(Context, resume_at) == 16);
  Context *left = &from, *continued = &to;
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rsp, 0(%%rdi)\n\t"
      "movq %%rbp, 8(%%rdi)\n\t"
      "movq %%rax, 16(%%rdi)\n\t"
      "movq 0(%%rsi), %%rsp\n\t"
      "movq 8(%%rsi), %%rbp\n\t"
      "jmpq *16(%%rsi)\n\t"
      "1:\n\t"
      : "+D"(left), "+S"(continued)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
}

void prepare_start(Context& context, char* stack_top) {
  // As if `entry` had been called from address 0, where a walk over the stack ends.
  void** const top = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(stack_top) / 16 * 16) - 1;
  *top = nullptr;
  context.stack_pointer = top;
  context.resume_at = reinterpret_cast<void*>(context.entry);
}

#endif

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

Context FiberStack::start(void (*entry)(), int index) {
#ifdef RINGPROOF_SIMT_ASAN
  __asan_unpoison_memory_region(bottom_, kStackBytes);
#endif
  // Stacks are a power of two apart: without a shift the same variable of all threads falls into one cache set.
  const std::size_t shift_bytes = static_cast<std::size_t>(index % 61) * 64;
  Context context;
  context.entry = entry;
  context.stack_bottom = bottom_;
  context.stack_bytes = kStackBytes - shift_bytes;
  prepare_start(context, bottom_ + context.stack_bytes);
  return context;
}

void switch_context(Context& from, Context& to) { jump(from, to, false); }

void leave_context(Context& from, Context& to) {
  jump(from, to, true);
  std::abort();
}

}  // namespace ringproof::simt::host

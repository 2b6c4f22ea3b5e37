#include "ci/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace ringproof {
namespace {

volatile std::sig_atomic_t interrupted = 0;

extern "C" void note_interrupt(int) {
  interrupted = 1;
  constexpr char kSaid[] = "\nstopping; what is finished is kept, and Ctrl-C again stops at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kSaid, sizeof kSaid - 1);
  std::signal(SIGINT, SIG_DFL);  // a second Ctrl-C ends the process at once
}

}  // namespace

Interrupt::Interrupt() {
  interrupted = 0;
  std::signal(SIGINT, note_interrupt);
}

Interrupt::~Interrupt() { std::signal(SIGINT, SIG_DFL); }

bool Interrupt::asked() const { return interrupt_asked(); }

bool interrupt_asked() { return interrupted != 0; }

}  // namespace ringproof

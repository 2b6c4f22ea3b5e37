#pragma once

namespace ringproof {

/// While it lives, the first Ctrl-C is noted, so that work can stop with everything finished kept: after the Case it is
/// at, or at once where that is a call of a worker, whose process is ended. A second one ends the process at once. One
/// at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool asked() const;
};

/// Whether the Interrupt that lives, if one does, was asked to stop.
bool interrupt_asked();

}  // namespace ringproof

#pragma once

namespace ringproof {

/// While it lives, the first Ctrl-C is noted, so that work can stop after what it is at, with everything finished kept;
/// a second one ends the process at once. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool asked() const;
};

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gpu/simt/runtime.h"

extern "C" const char __executable_start;  // the linker's

namespace ringproof::racecheck {

/// A line of a kernel as a number: of an instruction of this program, or of a Site.
using Place = std::uint32_t;

/// Where in the sources, and through which calls that the compiler has inlined.
struct SourceLine {
  std::string file;  ///< "flash_forward_fp32.cuh", without folders; "?" where nothing is known
  int line = 0;
  std::vector<std::string> called_from;  ///< "file:line", the innermost call first
};

/// "flash_forward_fp32.cuh:83, called from flash_forward_fp32.cuh:148"
std::string to_string(const SourceLine& line);

/// Gives out places and looks them up in the program's debug information.
class Places {
 public:
  Places();
  ~Places();

  /// The call that returns to `return_address`, which lies in the program itself (not in a shared library).
  static Place of_code(const void* return_address) {
    return static_cast<Place>(static_cast<const char*>(return_address) - &__executable_start);
  }
  Place of(const simt::host::Site& site);

  SourceLine where(Place place);

 private:
  struct DebugInformation;
  std::vector<simt::host::Site> sites_;
  std::unique_ptr<DebugInformation> debug_;
};

}  // namespace ringproof::racecheck

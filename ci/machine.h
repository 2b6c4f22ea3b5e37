#pragma once

#include <cstdint>
#include <string>

namespace ringproof {

/// What a report says about where it ran.
struct Machine {
  std::string cpu, os;
  int cores;
  std::uint64_t memory_bytes;
  std::string cuda_device;  ///< the first device's name, or "none"
};

/// Looks at this machine; never fails (unknown things are "unknown").
Machine this_machine();

/// The present time in UTC, ISO 8601.
std::string utc_now();

}  // namespace ringproof

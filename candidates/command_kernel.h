#pragma once

#include <string>

#include "candidates/served_kernel.h"

namespace ringproof {

inline constexpr const char* kCommandPrefix = "cmd:";

/// The kernel `cmd:COMMAND`, run by the shell once for every call with {in} and {out} replaced by folders that are made
/// for it and gone afterwards. {in} holds q.npy, k.npy, v.npy in C order (bf16 and fp8 as unsigned integers of their
/// bits) and problem.json, an object with the fields of a call's problem (protocol.md), "ask": "forward" and "lse". The
/// command leaves out.npy and, where "lse" is true, lse.npy in {out}, and exits with 0; with 77 it refuses the problem;
/// any other end is an error.
///
/// It is first run with "ask": "describe", "dtype" and "direction" alone in problem.json, and may leave the fields of a
/// description in description.json. Without one: fp32, mask full, no features.
ServedKernel command_kernel(const std::string& name);

}  // namespace ringproof

#pragma once

#include <string>
#include <vector>

#include "gpu/conformance/finding.h"

namespace ringproof {

/// Every kernel of flash_kernels() on both sides, on the Cases of `lines` that it covers (its dtype put in): the host
/// runtime with Hopper's numerics, CUDA device 0. Agrees where NaN and infinity stand in the same places and the device
/// run showed no fault of structure; how many elements have equal bits, and the largest difference, are facts. Whether
/// either is right is the gate's question, with the judge's bounds. Throws Error without a device.
std::vector<Finding> compare_kernels(const std::vector<std::string>& lines);

}  // namespace ringproof

#pragma once

#include <string>

namespace ringproof {

/// The name of CUDA device 0 as the driver gives it; "none" without a device or in a build without CUDA. Never fails.
std::string cuda_device_name();

}  // namespace ringproof

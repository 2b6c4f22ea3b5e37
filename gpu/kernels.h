#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "gpu/flash_params.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// Starts a kernel on `stream`: null or simt::host::LaunchOptions on the host, a cudaStream_t on the device.
using FlashLaunch = void(const FlashParams&, void* stream);

/// A kernel of this folder for one storage dtype, with what it declares. Beside 16-bit storage it writes its O in fp32
/// where asked: every kernel is also the compute of a ring.
struct FlashKernel {
  const char* name;  ///< of its candidate: kernel and dtype
  Dtype dtype;
  Description (*describe)();
  FlashLaunch* on_host;
  std::function<FlashLaunch> on_cuda;                   ///< empty in a build without CUDA
  std::int64_t (*workspace_bytes)(const FlashParams&);  ///< what FlashParams::workspace must hold; null: nothing
};

/// Every kernel, written out: nothing registers itself.
const std::vector<FlashKernel>& flash_kernels();

}  // namespace ringproof

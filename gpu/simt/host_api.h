#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "gpu/simt/atomics.h"
#include "gpu/simt/host_types.h"
#include "gpu/simt/runtime.h"

#ifdef __FAST_MATH__
#error "kernels are judged to the last bit: do not compile them with -ffast-math"
#endif

/// What a kernel sees on the host: CUDA's words with CUDA's meaning, as real variables and functions. A kernel says
/// `using namespace simt::api;` and is otherwise plain CUDA.
namespace ringproof::simt::host {

/// The running CUDA thread. A debugger that stops inside a kernel can print them.
extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

using std::max;
using std::min;

/// The block's shared memory: smem_bytes of the launch, aligned to 128 bytes, all bits set before every block (NaN in
/// every floating-point format). Kernels lay a struct over it.
inline unsigned char* dynamic_smem() { return shared_memory(); }

inline void __syncthreads(Site site = Site::current()) { barrier(site); }

inline void __syncwarp(std::uint32_t mask = ~0u, Site site = Site::current()) {
  warp_operation(WarpOperation::kSync, mask, 0, 0, site);
}

/// Values of up to 8 bytes travel through the runtime as bits.
template <class T>
T shuffle(WarpOperation operation, std::uint32_t mask, T value, int source, const Site& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_operation(operation, mask, bits, source, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// `width` cuts the warp into segments; a source above the own segment (below it, for up) means the own value.
template <class T>
T __shfl_sync(std::uint32_t mask, T value, int source, int width = warpSize, Site site = Site::current()) {
  const int own = lane();
  return shuffle(WarpOperation::kShuffle, mask, value, (own & ~(width - 1)) | (source & (width - 1)), site);
}

template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int lane_mask, int width = warpSize, Site site = Site::current()) {
  const int own = lane(), source = own ^ lane_mask;
  return shuffle(WarpOperation::kShuffleXor, mask, value, source > (own | (width - 1)) ? own : source, site);
}

template <class T>
T __shfl_up_sync(std::uint32_t mask, T value, unsigned delta, int width = warpSize, Site site = Site::current()) {
  const int own = lane(), source = own - static_cast<int>(delta);
  return shuffle(WarpOperation::kShuffleUp, mask, value, source < (own & ~(width - 1)) ? own : source, site);
}

template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned delta, int width = warpSize, Site site = Site::current()) {
  const int own = lane(), source = own + static_cast<int>(delta);
  return shuffle(WarpOperation::kShuffleDown, mask, value, source > (own | (width - 1)) ? own : source, site);
}

inline std::uint32_t __ballot_sync(std::uint32_t mask, int predicate, Site site = Site::current()) {
  return static_cast<std::uint32_t>(warp_operation(WarpOperation::kBallot, mask, predicate != 0, 0, site));
}

inline int __any_sync(std::uint32_t mask, int predicate, Site site = Site::current()) {
  return warp_operation(WarpOperation::kAny, mask, predicate != 0, 0, site) != 0;
}

inline int __all_sync(std::uint32_t mask, int predicate, Site site = Site::current()) {
  return warp_operation(WarpOperation::kAll, mask, predicate == 0, 0, site) == 0;
}

/// Runs `kernel(args...)` for every thread of the grid and returns what was reported. `stream` is null or points to
/// LaunchOptions. Each thread gets its own copy of the arguments, as on a GPU.
template <class Kernel, class... Args>
std::vector<Report> launch_reported(const Kernel& kernel, dim3 grid, dim3 block, std::size_t smem_bytes,
                                    const void* stream, const Args&... args) {
  const auto body = [&] { kernel(args...); };
  Launch launch;
  launch.grid = grid;
  launch.block = block;
  launch.smem_bytes = smem_bytes;
  if (stream != nullptr) launch.options = *static_cast<const LaunchOptions*>(stream);
  launch.run_thread = [](const void* b) { (*static_cast<decltype(&body)>(b))(); };
  launch.body = &body;
  return run(launch);
}

/// As launch_reported; throws Error with the text of the first report, so that nobody takes the results for right.
template <class Kernel, class... Args>
void launch(const Kernel& kernel, dim3 grid, dim3 block, std::size_t smem_bytes, const void* stream,
            const Args&... args) {
  throw_if_any(launch_reported(kernel, grid, block, smem_bytes, stream, args...));
}

}  // namespace ringproof::simt::host

#pragma once

#include <cstddef>
#include <cstdint>

namespace ringproof {

/// The kernels of gpu/simt/ptx_probes.cuh and of this folder, one per wrapper or built-in.
enum class Probe {
  kMmaBf16,
  kMmaFp16,
  kMmaF64,
  kLdmatrix,
  kCpAsync,
  kConversions,
  kNamedBarriers,
  kAtomics,
  kShuffles,
  kVotes,
};

/// Words of 32 bits per thread and threads of the one block, for any input bits.
struct ProbeShape {
  const char* name;
  int words_in, words_out, threads;
  std::size_t smem_bytes;
};

constexpr ProbeShape shape_of(Probe probe) {
  constexpr ProbeShape kShapes[]{{"mma.m16n8k16 bf16", 10, 8, 32, 0}, {"mma.m16n8k16 fp16", 10, 8, 32, 0},
                                 {"mma.m8n8k4 f64", 8, 4, 32, 0},     {"ldmatrix", 4, 12, 32, 512},
                                 {"cp.async", 8, 8, 32, 1024},        {"16-bit conversions", 2, 6, 32, 0},
                                 {"named barriers", 1, 1, 64, 256},   {"atomics", 1, 5, 32, 0},
                                 {"shuffles", 1, 8, 32, 0},           {"ballot, any, all", 1, 3, 32, 0}};
  return kShapes[static_cast<int>(probe)];
}

inline constexpr int kProbeCount = static_cast<int>(Probe::kVotes) + 1;

namespace on_host {
/// Runs one block of the probe on the host runtime; `stream` is null or LaunchOptions.
void launch_probe(Probe probe, const std::uint32_t* in, std::uint32_t* out, void* stream);
}  // namespace on_host

namespace on_cuda {
/// Starts the same on a device, with device pointers, on a cudaStream_t.
void launch_probe(Probe probe, const std::uint32_t* in, std::uint32_t* out, void* stream);
}  // namespace on_cuda

}  // namespace ringproof

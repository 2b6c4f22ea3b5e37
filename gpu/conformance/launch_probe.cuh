#pragma once

// The probes started by number, and the warp's built-ins, which CUDA C++ has words for. Every value that is shuffled
// comes from the words in, and so do the lanes asked, so that random bits reach every path.

#include "gpu/conformance/probes.h"
#include "gpu/simt/ptx_probes.cuh"

namespace ringproof::SIMT_BACKEND {

/// Words in: a value whose low bits also choose lanes. Words out: idx, xor, up and down shuffles over the whole warp
/// and over segments of 8 lanes.
__global__ void probe_shuffles(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t x = *own_words(in, 1);
  const int source = static_cast<int>(x % 32);
  // All lanes of a warp must name the same distance.
  const int apart = static_cast<int>(in[0] % 31 + 1);
  std::uint32_t* const y = own_words(out, 8);
  y[0] = __shfl_sync(~0u, x, source);
  y[1] = __shfl_xor_sync(~0u, x, apart);
  y[2] = __shfl_up_sync(~0u, x, static_cast<unsigned>(apart));
  y[3] = __shfl_down_sync(~0u, x, static_cast<unsigned>(apart));
  y[4] = __shfl_sync(~0u, x, source, 8);
  y[5] = __shfl_xor_sync(~0u, x, apart % 8, 8);
  y[6] = __shfl_up_sync(~0u, x, static_cast<unsigned>(apart % 8), 8);
  y[7] = __shfl_down_sync(~0u, x, static_cast<unsigned>(apart % 8), 8);
}

/// Words in: a value. Words out: ballot, any and all of predicates made of it.
__global__ void probe_votes(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t x = *own_words(in, 1);
  std::uint32_t* const y = own_words(out, 3);
  y[0] = __ballot_sync(~0u, static_cast<int>(x % 2));
  y[1] = static_cast<std::uint32_t>(__any_sync(~0u, x % 64 == 0) != 0);
  y[2] = static_cast<std::uint32_t>(__all_sync(~0u, x % 64 != 1) != 0);
}

inline void start_probe(Probe probe, const std::uint32_t* in, std::uint32_t* out, void* stream) {
  const ProbeShape shape = shape_of(probe);
  const auto start = [&](auto kernel) {
    launch(kernel, dim3(1), dim3(static_cast<unsigned>(shape.threads)), shape.smem_bytes, stream, in, out);
  };
  switch (probe) {
    case Probe::kMmaBf16: return start(probe_mma_m16n8k16<bf16>);
    case Probe::kMmaFp16: return start(probe_mma_m16n8k16<fp16>);
    case Probe::kMmaF64: return start(probe_mma_m8n8k4_f64);
    case Probe::kLdmatrix: return start(probe_ldmatrix);
    case Probe::kCpAsync: return start(probe_cp_async);
    case Probe::kConversions: return start(probe_conversions);
    case Probe::kNamedBarriers: return start(probe_named_barriers);
    case Probe::kAtomics: return start(probe_atomics);
    case Probe::kShuffles: return start(probe_shuffles);
    case Probe::kVotes: return start(probe_votes);
  }
}

}  // namespace ringproof::SIMT_BACKEND

#pragma once

/// The CUDA words that a host compiler does not know: qualifiers, and the vector types a kernel may name.
///
/// Defined here even where a CUDA toolkit is installed, and no CUDA header is included in a host build: the host
/// build is then the same on every machine.

#ifdef __CUDACC__
#error "gpu/simt/host_types.h is for host compilers; nvcc has the real words"
#endif

// Attributes have no other spelling that both compilers read.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace ringproof::simt::host {

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_count = 1, unsigned y_count = 1, unsigned z_count = 1)
      : x(x_count), y(y_count), z(z_count) {}
};

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

}  // namespace ringproof::simt::host

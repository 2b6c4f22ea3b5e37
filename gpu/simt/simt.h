#pragma once

/// What a kernel file includes, and all it needs to be compiled for a GPU (nvcc) and for the CPU (any C++ compiler):
///
///     namespace ringproof::SIMT_BACKEND {
///     using namespace simt::api;
///     __global__ void twice(float* x) { x[blockIdx.x * blockDim.x + threadIdx.x] *= 2.0f; }
///     }
///
/// The namespace differs (on_cuda, on_host) because both versions are linked into one program, where equal names
/// would silently become one function. -DSIMT_BACKEND=name puts an edited copy of a kernel beside the original.
/// Shared memory only through dynamic_smem(); no #ifdef inside kernels: code you do not ship is not worth testing.

#ifdef __CUDACC__

#include "gpu/simt/cuda_api.h"
#include "gpu/simt/ptx.h"
#ifndef SIMT_BACKEND
#define SIMT_BACKEND on_cuda
#endif
namespace ringproof::simt {
namespace api = cuda;
}

#else

#include "gpu/simt/host_api.h"
#include "gpu/simt/ptx.h"
#ifndef SIMT_BACKEND
#define SIMT_BACKEND on_host
#endif
namespace ringproof::simt {
namespace api = host;
}

#endif

#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

/// A stand-in for the CUDA runtime, for tests on a machine without a GPU: a program that links it instead of libcudart
/// runs its own host code (copies, streams, graphs, launches) against a pretended device 0 whose memory is host memory.
///
/// Work given to a stream is put off until something waits for that stream, so that whoever relies on work he has not
/// waited for sees it missing; the legacy default stream works at once, and does not wait for non-blocking streams.
/// Kernels are not executed: their launches are listed. Device work that a test wants done is given as a host function
/// (cudaLaunchHostFunc). One thread at a time.
namespace ringproof::stand_in {

/// A kernel as it was started, during the capture of a graph too.
struct KernelLaunch {
  std::string kernel;  ///< mangled
  dim3 grid, block;
  std::size_t smem_bytes, smem_bytes_asked;  ///< dynamic; the largest that cudaFuncSetAttribute has allowed it
  cudaStream_t stream;
};

/// The launches since the last call, in order.
std::vector<KernelLaunch> take_launches();

/// Bytes of device memory that are allocated now.
std::size_t bytes_allocated();

/// From now on `call` ("cudaMalloc") fails with `status`, until it is set to cudaSuccess again.
void fail(const std::string& call, cudaError_t status);

}  // namespace ringproof::stand_in

// The probes as nvcc sees them.

#include "gpu/conformance/launch_probe.cuh"
#include "gpu/conformance/wrappers.h"

namespace ringproof::on_cuda {

void launch_probe(Probe probe, const std::uint32_t* in, std::uint32_t* out, void* stream) {
  start_probe(probe, in, out, stream);
}

}  // namespace ringproof::on_cuda

namespace ringproof {

std::vector<std::uint32_t> run_probe_on_device(Probe probe, const std::vector<std::uint32_t>& in, int trials) {
  const ProbeShape shape = shape_of(probe);
  const auto count_in = static_cast<std::size_t>(shape.words_in * shape.threads),
             count_out = static_cast<std::size_t>(shape.words_out * shape.threads);
  std::vector<std::uint32_t> out(count_out * static_cast<std::size_t>(trials));
  const std::size_t bytes_in = in.size() * 4, bytes_out = out.size() * 4;
  std::byte* memory = nullptr;
  simt::cuda::check(cudaMalloc(reinterpret_cast<void**>(&memory), bytes_in + bytes_out), "cudaMalloc");
  auto* const device_in = reinterpret_cast<std::uint32_t*>(memory);
  auto* const device_out = reinterpret_cast<std::uint32_t*>(memory + bytes_in);
  cudaError_t status = cudaMemcpy(device_in, in.data(), bytes_in, cudaMemcpyHostToDevice);
  if (status == cudaSuccess) status = cudaMemset(device_out, 0xff, bytes_out);
  if (status == cudaSuccess) {
    for (std::size_t t = 0; t < static_cast<std::size_t>(trials); ++t) {
      on_cuda::launch_probe(probe, device_in + t * count_in, device_out + t * count_out, nullptr);
    }
    status = cudaMemcpy(out.data(), device_out, bytes_out, cudaMemcpyDeviceToHost);
  }
  cudaFree(memory);
  simt::cuda::check(status, shape.name);
  return out;
}

}  // namespace ringproof

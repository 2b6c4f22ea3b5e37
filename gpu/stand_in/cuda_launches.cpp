// Starts every kernel of the CUDA library once for each kind of problem it may be asked, on the stand-in for the CUDA
// runtime (so that no GPU is needed and nothing is computed), and prints one JSON line per launch: kernel (mangled),
// threads per block, dynamic shared memory. kernel_resources.py holds these to its record.

#include <cstdio>
#include <exception>
#include <set>
#include <string>

#include "gpu/device/stream_hold.h"
#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "gpu/stand_in/cuda_runtime.h"

namespace ringproof {
namespace {

constexpr std::int64_t kHeadDims[][2]{{8, 8},     {16, 16},   {32, 32},   {40, 40},   {64, 64},   {72, 72},  {96, 96},
                                      {128, 128}, {160, 160}, {192, 192}, {192, 128}, {256, 256}, {64, 128}, {128, 32}};
/// A prompt, one new token after a long past, and both longer than any tile.
constexpr std::int64_t kLengths[][2]{{1, 1}, {200, 300}, {1, 9000}, {700, 5000}};

/// Addresses that nobody will follow: a launch that is not executed reads nothing.
alignas(256) std::int64_t some_memory[64];

TensorView view_of(Dtype dtype, const Shape& shape) { return {some_memory, dtype, -1, shape, dense_strides(shape)}; }

void launch(const FlashKernel& kernel, Problem problem, bool with_lse) {
  problem.cu_seqlens_q = problem.cu_seqlens_kv = some_memory;
  problem.block_mask = reinterpret_cast<const std::uint8_t*>(some_memory);
  const TensorView lse = view_of(dtype_of_lse(problem.dtype), problem.shape_lse());
  FlashParams params =
      make_flash_params(problem, view_of(problem.dtype, problem.shape_q()), view_of(problem.dtype, problem.shape_k()),
                        view_of(problem.dtype, problem.shape_v()),
                        view_of(dtype_of_out(problem.dtype), problem.shape_out()), with_lse ? &lse : nullptr);
  params.workspace = some_memory;
  kernel.on_cuda(params, nullptr);
}

Mask mask_of(MaskKind kind, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  Mask mask;
  mask.kind = kind;
  mask.document_lengths_q = {seqlen_q};
  mask.document_lengths_kv = {seqlen_kv};
  mask.block_q = mask.block_kv = 64;
  return mask;
}

void launch_all(const FlashKernel& kernel) {
  const Description description = kernel.describe();
  for (const auto& [head_dim_qk, head_dim_v] : kHeadDims) {
    for (const auto& [seqlen_q, seqlen_kv] : kLengths) {
      for (int kind = 0; kind < 6; ++kind) {
        Problem problem{};
        problem.dtype = kernel.dtype;
        problem.mask = mask_of(static_cast<MaskKind>(kind), seqlen_q, seqlen_kv);
        problem.batch = 2;
        problem.heads_q = 4;
        problem.heads_kv = 2;
        problem.seqlen_q = seqlen_q;
        problem.seqlen_kv = seqlen_kv;
        problem.head_dim_qk = head_dim_qk;
        problem.head_dim_v = head_dim_v;
        problem.softmax_scale = 0.125;
        if (!unsupported_reason(description, problem).empty()) continue;
        launch(kernel, problem, kind % 2 == 0);
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

int main() {
  using namespace ringproof;
  try {
    for (const FlashKernel& kernel : flash_kernels()) launch_all(kernel);
    cudaStream_t stream = nullptr;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    { const StreamHold hold(stream); }
    cudaStreamDestroy(stream);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::set<std::string> lines;
  for (const stand_in::KernelLaunch& launch : stand_in::take_launches()) {
    lines.insert("{\"kernel\": \"" + launch.kernel +
                 "\", \"threads\": " + std::to_string(launch.block.x * launch.block.y * launch.block.z) +
                 ", \"shared_bytes_dynamic\": " + std::to_string(launch.smem_bytes) + "}");
  }
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  return 0;
}

// What the host runtime's operations cost, each in a kernel of 128 threads that does nothing else, on one OS thread.
// Times are per operation of the whole block (4 warps).

#include <benchmark/benchmark.h>

#include <cstdint>

#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

constexpr unsigned kThreads = 128;
constexpr int kRepeats = 2000;

__global__ void barriers() {
  for (int i = 0; i < kRepeats; ++i) __syncthreads();
}

__global__ void warp_barriers() {
  for (int i = 0; i < kRepeats; ++i) __syncwarp();
}

__global__ void named_barriers() {
  for (int i = 0; i < kRepeats; ++i) barrier_sync(1 + static_cast<int>(threadIdx.x / 64), 64);
}

__global__ void shuffles() {
  float x = static_cast<float>(threadIdx.x);
  for (int i = 0; i < kRepeats; ++i) x = __shfl_xor_sync(~0u, x, 1);
  benchmark::DoNotOptimize(x);
}

template <class T>
__global__ void mmas() {
  const std::uint32_t bits = pack<T>(0.5f, 0.25f);
  const std::uint32_t a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
  float c[4] = {1, 2, 3, 4};
  for (int i = 0; i < kRepeats; ++i) mma_m16n8k16<T>(c, a, b, c);
  benchmark::DoNotOptimize(c);
}

__global__ void mmas_f64() {
  double c[2] = {1, 2};
  for (int i = 0; i < kRepeats; ++i) mma_m8n8k4_f64(c, 0.5, 0.25, c);
  benchmark::DoNotOptimize(c);
}

__global__ void matrix_loads() {
  std::uint32_t r[4];
  for (int i = 0; i < kRepeats; ++i) ldmatrix_x4_trans(r, dynamic_smem() + 16 * (threadIdx.x % 32));
  benchmark::DoNotOptimize(r);
}

__global__ void copies(const unsigned char* in) {
  for (int i = 0; i < kRepeats; ++i) {
    cp_async_16(dynamic_smem() + 16 * threadIdx.x, in);
    cp_async_commit();
    cp_async_wait<0>();
  }
}

template <class Kernel, class... Args>
void measure(benchmark::State& state, const Kernel& kernel, MmaNumerics numerics, const Args&... args) {
  LaunchOptions options = {Order::kForward, 0, 1, numerics};
  for (auto _ : state) launch(kernel, dim3(1), dim3(kThreads), 16 * kThreads, &options, args...);
  state.counters["per_operation"] = benchmark::Counter(static_cast<double>(state.iterations()) * kRepeats,
                                                       benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void measure_plain(benchmark::State& state, void (*kernel)()) { measure(state, kernel, MmaNumerics::kSequentialFp32); }

void measure_copies(benchmark::State& state) {
  alignas(16) static const unsigned char in[16] = {};
  measure(state, copies, MmaNumerics::kSequentialFp32, +in);
}

BENCHMARK_CAPTURE(measure_plain, syncthreads, barriers);
BENCHMARK_CAPTURE(measure_plain, syncwarp, warp_barriers);
BENCHMARK_CAPTURE(measure_plain, named_barrier, named_barriers);
BENCHMARK_CAPTURE(measure_plain, shuffle, shuffles);
BENCHMARK_CAPTURE(measure_plain, ldmatrix_x4_trans, matrix_loads);
BENCHMARK_CAPTURE(measure_plain, mma_m8n8k4_f64, mmas_f64);
BENCHMARK_CAPTURE(measure, mma_bf16_sequential, mmas<bf16>, MmaNumerics::kSequentialFp32);
BENCHMARK_CAPTURE(measure, mma_bf16_exact, mmas<bf16>, MmaNumerics::kExactThenRound);
BENCHMARK_CAPTURE(measure, mma_bf16_hopper, mmas<bf16>, MmaNumerics::kHopper);
BENCHMARK_CAPTURE(measure, mma_fp16_sequential, mmas<fp16>, MmaNumerics::kSequentialFp32);
BENCHMARK(measure_copies)->Name("measure_plain/cp_async_16_commit_wait");

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

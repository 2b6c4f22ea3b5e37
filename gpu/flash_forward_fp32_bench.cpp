// Time of flash_forward_fp32 on the host runtime, 1 batch, 2 heads, head dim 64, all OS threads of the machine.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "gpu/flash_forward_fp32.h"
#include "gpu/simt/runtime.h"

namespace ringproof {
namespace {

void flash_forward_fp32_on_host(benchmark::State& state) {
  constexpr std::int64_t kHeads = 2, kHeadDim = 64;
  const std::int64_t seqlen = state.range(0);
  const std::int64_t count = kHeads * seqlen * kHeadDim;
  std::vector<float> q(static_cast<std::size_t>(count)), k(q), v(q), out(q);
  std::vector<float> lse(static_cast<std::size_t>(kHeads * seqlen));
  std::uint32_t bits = 1;
  for (auto* tensor : {&q, &k, &v}) {
    for (float& x : *tensor) {
      bits = bits * 1664525u + 1013904223u;
      x = static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-30f;
    }
  }
  FlashParams params{};
  params.dtype = params.out_dtype = Dtype::kF32;
  params.q = q.data();
  params.k = k.data();
  params.v = v.data();
  params.out = out.data();
  params.lse = lse.data();
  for (auto* stride : {params.q_stride, params.k_stride, params.v_stride, params.out_stride}) {
    stride[1] = seqlen * kHeadDim;
    stride[2] = kHeadDim;
    stride[3] = 1;
  }
  params.lse_stride[1] = seqlen;
  params.lse_stride[2] = 1;
  params.batch = 1;
  params.heads_q = params.heads_kv = kHeads;
  params.seqlen_q = params.seqlen_kv = seqlen;
  params.head_dim_qk = params.head_dim_v = kHeadDim;
  params.band_lo = -seqlen;
  params.band_hi = seqlen;
  params.scale = 0.125f;
  simt::host::LaunchOptions options;
  options.thread_count = static_cast<int>(state.range(1));
  for (auto _ : state) on_host::flash_forward_fp32(params, &options);
  state.counters["GFLOP/s"] = benchmark::Counter(4e-9 * static_cast<double>(count * seqlen),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(flash_forward_fp32_on_host)
    ->ArgNames({"seqlen", "threads"})
    ->ArgsProduct({{256, 512, 1024}, {1, 0}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace ringproof

// The fast oracle beside the machine's FMA peak and the plain oracle, all on every thread and by turns within one run,
// because only ratios of one minute mean anything. Counters:
//   peak_GFLOP/s   fused multiply-adds in double on registers, 2 flops each
//   share          4 n^2 d flops of O and lse / (time of the fast oracle, statistics included, * peak)
//   utilisation    the same with all products that are formed: 2 in double, 5 in single precision at half the price
//   plain_over_fast  time of the plain oracle / time of the fast one

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reference/oracle/fast/fast_forward_bench.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ringproof::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 12 independent chains hide the latency. Returns the flops done; `sink` keeps them alive.
double multiply_add(std::int64_t count, double* sink) {
  const hn::ScalableTag<double> tag;
  hn::Vec<hn::ScalableTag<double>> sum[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) sum[i] = hn::Set(tag, i + 1.0);
  const auto x = hn::Set(tag, 0.999), y = hn::Set(tag, 0x1p-10);
  for (std::int64_t k = 0; k < count; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = hn::MulAdd(sum[i], x, y);
  }
  for (int i = 1; i < 12; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  *sink = hn::GetLane(sum[0]);
  return static_cast<double>(count) * 12 * 2 * static_cast<double>(hn::Lanes(tag));
}

}  // namespace ringproof::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "reference/oracle/fast/fast_forward.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/case.h"

namespace ringproof {
namespace {

HWY_EXPORT(multiply_add);

template <class Work>
double seconds(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Flops a second of all threads.
double peak(int threads) {
  double flops = 0;
  std::mutex mutex;
  const double time = seconds([&] {
    parallel_for(threads, threads, [&](std::int64_t) {
      double sink = 0;
      const double done = HWY_DYNAMIC_DISPATCH(multiply_add)(4'000'000, &sink);
      benchmark::DoNotOptimize(sink);
      const std::lock_guard lock(mutex);
      flops += done;
    });
  });
  return flops / time;
}

void fast_forward(benchmark::State& state) {
  const std::int64_t n = state.range(0), d = state.range(1);
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const std::string length = std::to_string(n), dim = std::to_string(d);
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq" + length + ".skv" + length + ".dqk" + dim + ".dv" + dim +
                            "/full/scale" + (d == 64 ? "0.125" : "0.08838834764831845") + "/gauss:1/bhsd/single");
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
  std::vector<double> peaks, times;
  for (auto _ : state) {
    peaks.push_back(peak(threads));
    times.push_back(seconds([&] { benchmark::DoNotOptimize(fast_attention_forward(c.problem, q, k, v, threads)); }));
    state.SetIterationTime(times.back());
  }
  const double plain = seconds([&] { benchmark::DoNotOptimize(attention_forward(c.problem, q, k, v, threads)); });
  const double flops = 4 * static_cast<double>(n * n * d), time = median(times), fma = median(peaks);
  state.counters["peak_GFLOP/s"] = fma / 1e9;
  state.counters["share"] = flops / time / fma;
  state.counters["utilisation"] = flops * 2.25 / time / fma;
  state.counters["plain_over_fast"] = plain / time;
  state.SetLabel(panel_kernels().target);
}
BENCHMARK(fast_forward)
    ->ArgNames({"n", "d"})
    ->ArgsProduct({{1024, 4096}, {64, 128}})
    ->Iterations(7)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ringproof

#endif

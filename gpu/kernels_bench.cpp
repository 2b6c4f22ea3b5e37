// What a kernel costs on the host runtime, against the plain oracle on the same Case: 1 batch, 2 heads, head dim 64,
// 2 OS threads each. They take turns within one run. `ratio` is kernel / oracle in processor time, `ratio_wall` in wall
// time, each of the least over all turns.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "gpu/simt/runtime.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

constexpr int kThreads = 2;

struct Least {
  double processor = std::numeric_limits<double>::infinity(), wall = processor;

  template <class Work>
  void time(const Work& work) {
    const std::clock_t processor_start = std::clock();
    const auto wall_start = std::chrono::steady_clock::now();
    work();
    processor = std::min(processor, static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC);
    wall = std::min(wall, std::chrono::duration<double>(std::chrono::steady_clock::now() - wall_start).count());
  }
};

void host_run(benchmark::State& state, const FlashKernel& kernel, std::int64_t seqlen) {
  const std::string n = std::to_string(seqlen);
  const Case c = parse_case("fwd/" + std::string(to_string(kernel.dtype)) + "/b1.hq2.hkv2.sq" + n + ".skv" + n +
                            ".dqk64.dv64/full/scale0.125/gauss:1/bhsd/single");
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  const Tensor out(kernel.dtype, inputs.q.shape());
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
  FlashParams params = make_flash_params(c.problem, q, k, v, out.view(), nullptr);
  std::vector<std::byte> workspace;
  if (kernel.workspace_bytes != nullptr) {
    workspace.resize(static_cast<std::size_t>(kernel.workspace_bytes(params)));
    params.workspace = workspace.data();
  }
  simt::host::LaunchOptions options;
  options.thread_count = kThreads;
  Least of_kernel, of_oracle;
  for (auto _ : state) {
    of_kernel.time([&] { kernel.on_host(params, &options); });
    of_oracle.time([&] { attention_forward(c.problem, q, k, v, kThreads); });
  }
  state.counters["kernel_ms"] = of_kernel.wall * 1e3;
  state.counters["oracle_ms"] = of_oracle.wall * 1e3;
  state.counters["ratio"] = of_kernel.processor / of_oracle.processor;
  state.counters["ratio_wall"] = of_kernel.wall / of_oracle.wall;
}

const bool registered = [] {
  for (const FlashKernel& kernel : flash_kernels()) {
    for (const std::int64_t seqlen : {512, 1024}) {
      const std::string name = kernel.name + ("/" + std::to_string(seqlen));
      benchmark::RegisterBenchmark(name.c_str(), host_run, kernel, seqlen)
          ->Unit(benchmark::kMillisecond)
          ->Iterations(5);
    }
  }
  return true;
}();

}  // namespace
}  // namespace ringproof

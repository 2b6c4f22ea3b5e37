// What a checksum costs beside the copy that every message makes anyway.

#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "distributed/checksum.h"

namespace ringproof {
namespace {

void checksum(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{1});
  for (auto _ : state) benchmark::DoNotOptimize(checksum_of(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void copy(benchmark::State& state) {
  const std::vector<std::byte> from(static_cast<std::size_t>(state.range(0)), std::byte{1});
  std::vector<std::byte> to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(checksum)->RangeMultiplier(16)->Range(4 << 10, 64 << 20);
BENCHMARK(copy)->RangeMultiplier(16)->Range(4 << 10, 64 << 20);

}  // namespace
}  // namespace ringproof

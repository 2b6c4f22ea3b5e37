// Runs made on different days are held against these: a machine that lost a tenth of its speed did so here too.

#include "ci/yardsticks.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>

#ifdef RINGPROOF_HAS_FAST_ORACLE
#include "reference/oracle/fast/fma_peak.h"
#endif

namespace ringproof {
namespace {

template <class Work>
double least_seconds(const Work& work) {
  double least = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    work();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

}  // namespace

std::vector<Yardstick> measure_yardsticks([[maybe_unused]] int threads) {
  std::vector<Yardstick> all;
#ifdef RINGPROOF_HAS_FAST_ORACLE
  constexpr std::int64_t kRounds = 2'000'000;
  double flops = 0;
  const double seconds = least_seconds([&] {
    std::vector<double> done(static_cast<std::size_t>(threads));
    std::vector<std::thread> others;
    for (double& mine : done) others.emplace_back([&mine] { mine = multiply_add_flops(kRounds); });
    for (std::thread& one : others) one.join();
    flops = 0;
    for (const double mine : done) flops += mine;
  });
  all.push_back({"fma_gflops", flops / seconds * 1e-9});
#endif
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  std::vector<std::byte> from(kBytes, std::byte{1}), to(kBytes);
  const double copy_seconds = least_seconds([&] {
    std::memcpy(to.data(), from.data(), kBytes);
    from[0] = to[kBytes - 1];  // so that no copy is left out
  });
  all.push_back({"copy_gbytes_per_s", 2.0 * kBytes / copy_seconds * 1e-9});
  return all;
}

}  // namespace ringproof

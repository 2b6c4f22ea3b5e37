// Clocks: a GPU under its power limit runs slower, and what it takes then says more about the limit than about the
// kernel. Dropping below 75 % of the default clock is nvbench's rule. Speed above what the tensor cores can do, or far
// above the best known library, has always been a fault of the measurement so far.

#include "gpu/timing.h"

#include <algorithm>
#include <cstddef>

namespace ringproof {
namespace {

constexpr double kClockShareMin = 0.75, kSteadyShare = 0.02, kFasterThanCudnnMax = 1.1;
constexpr std::size_t kSteadyReadings = 5;
/// How far the host's clock may lie above the events: what a launch and a wait cost, and a quarter besides.
constexpr double kEnqueueMs = 0.1, kWallOverEventMax = 1.25;

double quantile(const std::vector<double>& sorted, double share) {
  return sorted.empty() ? 0 : sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

/// Floating-point operations that the tensor cores of one multiprocessor do per clock in bf16 with fp32 sums: what the
/// data sheets of A100, RTX 3090 and 4090, H100 and B200 state, divided by multiprocessors and boost clock.
double flop_per_clock(int major, int minor) {
  switch (major * 10 + minor) {
    case 80: return 2048;
    case 86:
    case 89: return 1024;
    case 90: return 4096;
    case 100: return 8192;
    default: return 0;
  }
}

}  // namespace

TimingSummary summarise(const DeviceTiming& timing) {
  TimingSummary summary;
  for (const TimedLaunch& launch : timing.launches) {
    const bool is_known = launch.sm_clock_mhz > 0 && timing.default_clock_mhz > 0;
    if (is_known && launch.sm_clock_mhz < kClockShareMin * timing.default_clock_mhz) {
      ++summary.dropped_count;
    } else {
      summary.event_ms.push_back(launch.event_ms);
    }
  }
  std::vector<double> sorted = summary.event_ms;
  std::sort(sorted.begin(), sorted.end());
  summary.ms_min = quantile(sorted, 0);
  summary.ms_quartile_1 = quantile(sorted, 0.25);
  summary.ms_median = quantile(sorted, 0.5);
  summary.ms_quartile_3 = quantile(sorted, 0.75);
  if (!timing.wall_ms.empty()) summary.wall_ms_min = *std::min_element(timing.wall_ms.begin(), timing.wall_ms.end());
  return summary;
}

bool is_clock_steady(std::span<const int> clocks_mhz) {
  if (clocks_mhz.size() < kSteadyReadings) return false;
  const std::span<const int> last = clocks_mhz.last(kSteadyReadings);
  const auto [least, most] = std::minmax_element(last.begin(), last.end());
  return *least > 0 && *most - *least <= kSteadyShare * *most;
}

double roofline_tflops(const DeviceFacts& device) {
  constexpr double kMhzToTera = 1e-6;
  return flop_per_clock(device.major, device.minor) * device.multiprocessors * device.clock_mhz_max * kMhzToTera;
}

std::vector<std::string> suspicions(const TimingSummary& timing, double tflops, double roofline_tflops,
                                    double cudnn_tflops) {
  std::vector<std::string> sentences;
  if (roofline_tflops == 0) {
    sentences.push_back("the roofline of this device is not known: its speed could not be held to it");
  } else if (tflops > roofline_tflops) {
    sentences.push_back("faster than the device's tensor cores can be");
  }
  if (cudnn_tflops > 0 && tflops > kFasterThanCudnnMax * cudnn_tflops) {
    sentences.push_back("more than 10 % faster than cuDNN");
  }
  if (timing.wall_ms_min > kWallOverEventMax * timing.ms_median + kEnqueueMs) {
    sentences.push_back("the host's clock saw longer work than the events: some of it is not on the stream");
  }
  if (timing.wall_ms_min < timing.ms_min / kWallOverEventMax) {
    sentences.push_back("the host's clock saw shorter work than the events");
  }
  if (timing.dropped_count > static_cast<int>(timing.event_ms.size())) {
    sentences.push_back("more than half of the launches ran below 75 % of the default clock");
  }
  return sentences;
}

}  // namespace ringproof

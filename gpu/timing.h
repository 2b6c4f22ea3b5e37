#pragma once

#include <span>
#include <string>
#include <vector>

/// The rules by which times taken on a GPU are read. No device is needed for them.
namespace ringproof {

/// One launch between two events. The clock is what NVML said while it ran; 0: nobody could say.
struct TimedLaunch {
  double event_ms = 0;
  int sm_clock_mhz = 0;
};

/// What one kernel took on one problem.
struct DeviceTiming {
  std::vector<TimedLaunch> launches;  ///< after the warm-up
  std::vector<double> wall_ms;        ///< by the host's clock, with a wait for the whole device
  int default_clock_mhz = 0;          ///< 0: nobody could say
  int warm_up_count = 0;
  std::string clock_sentence;  ///< why the clock was not watched, or did not get steady; empty: it was, and did
};

/// Launches that count, and what they took. Quartiles are 0 where none counts.
struct TimingSummary {
  std::vector<double> event_ms;
  int dropped_count = 0;  ///< launches below 75 % of the default clock: they measure the power limit, not the kernel
  double ms_min = 0, ms_quartile_1 = 0, ms_median = 0, ms_quartile_3 = 0;
  double wall_ms_min = 0;
};

TimingSummary summarise(const DeviceTiming& timing);

/// Whether the last readings of a clock, in MHz, are steady: five in a row within 2 % of each other.
bool is_clock_steady(std::span<const int> clocks_mhz);

/// What bounds the speed of a device.
struct DeviceFacts {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  int clock_mhz_max = 0;
};

/// What the tensor cores of a device could do at its highest clock with 16-bit numbers and fp32 sums, dense; 0 where
/// the table has no such device.
double roofline_tflops(const DeviceFacts& device);

/// What may not be celebrated, a sentence each: a speed above the roofline (0: unknown, and said), or more than 10 %
/// above cuDNN's (0: there is none to compare with), events and the host's clock that do not agree, as with work on
/// another stream, launches of which fewer than half count.
std::vector<std::string> suspicions(const TimingSummary& timing, double tflops, double roofline_tflops,
                                    double cudnn_tflops);

}  // namespace ringproof

#pragma once

#include <string>

namespace ringproof {

/// Reads the clock of CUDA device 0's multiprocessors through NVML, which belongs to the driver and is loaded when
/// asked. Where it is missing, readings are 0 and missing_reason() says why.
class ClockWatch {
 public:
  /// `library` is what a test puts in NVML's place.
  explicit ClockWatch(const char* library = "libnvidia-ml.so.1");
  ~ClockWatch();
  ClockWatch(const ClockWatch&) = delete;
  ClockWatch& operator=(const ClockWatch&) = delete;

  const std::string& missing_reason() const { return missing_reason_; }
  int sm_clock_mhz() const;
  /// The clock that the device runs at when nobody sets another: NVML's default application clock, else its highest.
  int default_clock_mhz() const;

 private:
  using GetClock = int(void* device, int type, unsigned* mhz);

  void* library_ = nullptr;
  void* device_ = nullptr;
  GetClock *clock_now_ = nullptr, *clock_default_ = nullptr, *clock_max_ = nullptr;
  int (*shutdown_)() = nullptr;
  std::string missing_reason_;
};

}  // namespace ringproof

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gpu/device/clock_watch.h"
#include "gpu/kernels.h"
#include "gpu/timing.h"

namespace ringproof {

/// Why no kernel can run on a GPU here ("no CUDA device", with what the driver said); empty when one can.
std::string device_missing_reason();

/// What CUDA says of device 0. Throws Error naming the CUDA call that failed.
DeviceFacts device_facts();

/// Runs kernels on CUDA device 0 on tensors of host memory, in a way that makes them show what they may not do. Keeps
/// its device memory, so that tensors of the same shape come to lie at the same addresses from call to call.
///
/// A call: the device holds NaN wherever the kernel looks until its inputs are written, late, by copies on the
/// non-blocking stream that the kernel is started on; every tensor lies with the strides, aliases and misalignment it
/// has on the host, between guard zones; outputs hold what they hold on the host. Then, for tensors of up to 64 MiB
/// together and a kernel that claims to be deterministic, the launch is captured into a CUDA graph and replayed, on
/// other inputs and on the same.
class DeviceRunner {
 public:
  DeviceRunner();
  ~DeviceRunner();
  DeviceRunner(const DeviceRunner&) = delete;
  DeviceRunner& operator=(const DeviceRunner&) = delete;

  /// Runs `kernel` on what `params` describe in host memory (its workspace is not read) and writes out and lse there.
  /// Returns what it saw the kernel do wrong beside wrong numbers, a sentence each: memory written outside the outputs,
  /// inputs changed, outputs written after the stream had finished, a graph whose replay gives other bits than a call.
  /// Throws Error naming the CUDA call that failed.
  std::vector<std::string> run(const FlashKernel& kernel, const FlashParams& params);

  /// Times of `kernel` on what `params` describe: `samples` launches after `warm_up_min` ones and as many more as the
  /// clock needs to get steady, each between two CUDA events on the stream, behind a write of more than twice the L2
  /// cache that also hides the enqueueing, with the clock read while it runs; and a few launches by the host's clock
  /// with a wait for the whole device, which see work on other streams too. Each launch reads other addresses and other
  /// data (the signs turned) than the one before. out and lse of the last launch come back as in run(). Throws Error
  /// naming the CUDA call that failed.
  DeviceTiming time(const FlashKernel& kernel, const FlashParams& params, int warm_up_min, int samples,
                    const ClockWatch& clock);

 private:
  struct Call;
  struct State;
  class Timer;
  std::unique_ptr<State> state_;
};

}  // namespace ringproof

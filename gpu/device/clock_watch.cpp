// NVML numbers devices in an order of its own, so that device 0 of CUDA is found by its place on the bus. The functions
// and constants are those of nvml.h; a driver is older or newer than any header, and a machine without one has neither.

#include "gpu/device/clock_watch.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace ringproof {
namespace {

constexpr int kNvmlSuccess = 0, kNvmlClockSm = 1;

template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

ClockWatch::ClockWatch(const char* library) : library_(dlopen(library, RTLD_NOW)) {
  if (library_ == nullptr) {
    missing_reason_ = std::string("no NVML (") + dlerror() + ")";
    return;
  }
  int (*init)() = nullptr;
  int (*find_device)(const char*, void**) = nullptr;
  char place[32] = {};
  if (!find(library_, "nvmlInit_v2", init) || !find(library_, "nvmlDeviceGetHandleByPciBusId_v2", find_device) ||
      !find(library_, "nvmlDeviceGetClockInfo", clock_now_) || !find(library_, "nvmlShutdown", shutdown_)) {
    missing_reason_ = "this NVML lacks a function that is needed";
    shutdown_ = nullptr;
  } else if (init() != kNvmlSuccess) {
    missing_reason_ = "NVML does not start";
    shutdown_ = nullptr;
  } else if (cudaDeviceGetPCIBusId(place, sizeof(place), 0) != cudaSuccess ||
             find_device(place, &device_) != kNvmlSuccess) {
    cudaGetLastError();  // an answer, not an error of later calls
    missing_reason_ = "NVML does not know CUDA's device 0";
    device_ = nullptr;
  } else if (sm_clock_mhz() == 0) {
    missing_reason_ = "NVML does not tell the clock of this device";
    device_ = nullptr;
  } else {
    find(library_, "nvmlDeviceGetDefaultApplicationsClock", clock_default_);
    find(library_, "nvmlDeviceGetMaxClockInfo", clock_max_);
  }
}

ClockWatch::~ClockWatch() {
  if (shutdown_ != nullptr) shutdown_();
  if (library_ != nullptr) dlclose(library_);
}

int ClockWatch::sm_clock_mhz() const {
  unsigned mhz = 0;
  return device_ != nullptr && clock_now_(device_, kNvmlClockSm, &mhz) == kNvmlSuccess ? static_cast<int>(mhz) : 0;
}

int ClockWatch::default_clock_mhz() const {
  unsigned mhz = 0;
  for (GetClock* const ask : {clock_default_, clock_max_}) {
    if (device_ != nullptr && ask != nullptr && ask(device_, kNvmlClockSm, &mhz) == kNvmlSuccess && mhz > 0) {
      return static_cast<int>(mhz);
    }
  }
  return 0;
}

}  // namespace ringproof

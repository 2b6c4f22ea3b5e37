// Every region of a call that holds a tensor is mirrored on the device from 4 KiB in front of its first element used to
// 4 KiB behind the last: the guard zones that the judge has filled, and examines, come along; 4 KiB of NaN follow, for
// memory that ends with its last element. An input's mirror holds NaN until a copy on the call's stream, behind a host
// function that keeps the stream waiting, brings what was staged on the device before: a kernel started on any other
// stream meets the NaN. CUDA's driver is loaded by name, so that a build without CUDA serves plug-ins that were built
// with it; its primary context is the one that the CUDA runtime uses.

#include "candidates/device_call.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::int64_t kAroundBytes = 4096;
constexpr std::uint64_t kHeldBytesMin = 1 << 16;
constexpr unsigned char kNanByte = 0xff;
constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING
constexpr auto kInputsLate = std::chrono::milliseconds(1);

void keep_waiting(void*) { std::this_thread::sleep_for(kInputsLate); }

std::int64_t span_bytes(const rp_tensor& t) {
  std::int64_t span = 1;
  for (int axis = 0; axis < 4; ++axis) {
    if (t.shape[axis] == 0) return 0;
    span += (t.shape[axis] - 1) * t.stride[axis];
  }
  return span * static_cast<std::int64_t>(size_bytes(static_cast<Dtype>(t.dtype)));
}

}  // namespace

struct DeviceCalls::Driver {
  using Result = int;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  std::string missing = library == nullptr ? "there is no CUDA driver (libcuda.so.1)" : "";

  template <class Function>
  Function* find(const char* name) {
    void* const found = library == nullptr ? nullptr : dlsym(library, name);
    if (found == nullptr && missing.empty()) missing = std::string("the CUDA driver has no ") + name;
    return reinterpret_cast<Function*>(found);
  }

  Result (*init)(unsigned) = find<Result(unsigned)>("cuInit");
  Result (*device_get)(int*, int) = find<Result(int*, int)>("cuDeviceGet");
  Result (*retain)(void**, int) = find<Result(void**, int)>("cuDevicePrimaryCtxRetain");
  Result (*set_current)(void*) = find<Result(void*)>("cuCtxSetCurrent");
  Result (*stream_create)(void**, unsigned) = find<Result(void**, unsigned)>("cuStreamCreate");
  Result (*alloc)(std::uint64_t*, std::size_t) = find<Result(std::uint64_t*, std::size_t)>("cuMemAlloc_v2");
  Result (*release)(std::uint64_t) = find<Result(std::uint64_t)>("cuMemFree_v2");
  Result (*fill)(std::uint64_t, unsigned char,
                 std::size_t) = find<Result(std::uint64_t, unsigned char, std::size_t)>("cuMemsetD8_v2");
  Result (*to_device)(std::uint64_t, const void*,
                      std::size_t) = find<Result(std::uint64_t, const void*, std::size_t)>("cuMemcpyHtoD_v2");
  Result (*to_host)(void*, std::uint64_t,
                    std::size_t) = find<Result(void*, std::uint64_t, std::size_t)>("cuMemcpyDtoH_v2");
  Result (*move)(std::uint64_t, std::uint64_t, std::size_t,
                 void*) = find<Result(std::uint64_t, std::uint64_t, std::size_t, void*)>("cuMemcpyDtoDAsync_v2");
  Result (*launch_host)(void*, void (*)(void*),
                        void*) = find<Result(void*, void (*)(void*), void*)>("cuLaunchHostFunc");
  Result (*wait_stream)(void*) = find<Result(void*)>("cuStreamSynchronize");
  Result (*wait_all)() = find<Result()>("cuCtxSynchronize");
  Result (*words)(Result, const char**) = find<Result(Result, const char**)>("cuGetErrorString");

  std::string words_of(Result result) const {
    const char* text = nullptr;
    if (words != nullptr) words(result, &text);
    return text == nullptr ? "error " + std::to_string(result) : text;
  }
  void require(Result result, const char* call) const {
    if (result != 0) throw Error(std::string(call) + " failed: " + words_of(result));
  }
};

DeviceCalls::DeviceCalls() : driver_(std::make_unique<Driver>()) {
  missing_ = driver_->missing;
  if (!missing_.empty()) return;
  int device = 0;
  void* context = nullptr;
  const auto step = [&](Driver::Result result) {
    if (missing_.empty() && result != 0) missing_ = "there is no CUDA device (" + driver_->words_of(result) + ")";
    return missing_.empty();
  };
  if (step(driver_->init(0)) && step(driver_->device_get(&device, 0)) && step(driver_->retain(&context, device)) &&
      step(driver_->set_current(context))) {
    step(driver_->stream_create(&stream_, kNonBlocking));
  }
}

// The process ends with it, and what it holds on the device.
DeviceCalls::~DeviceCalls() = default;

void DeviceCalls::look_at(const SentTensor& sent, const char* name, bool is_output, const MappedRegions& regions) {
  const std::int64_t bytes = span_bytes(sent.tensor);
  if (bytes == 0) return;
  auto* const first = static_cast<std::byte*>(regions.place(sent).data);
  const std::int64_t begin = std::max(std::int64_t{0}, sent.offset / kAroundBytes * kAroundBytes - kAroundBytes),
                     end = std::min(regions.bytes_open(sent.region), sent.offset + bytes + kAroundBytes);
  const auto [found, is_new] =
      windows_.try_emplace(sent.region, Window{first - sent.offset, begin, end, is_output, name});
  Window& window = found->second;
  const bool is_unused = window.begin == window.end;
  if (!is_new && is_unused) {
    window = {first - sent.offset, begin, end, is_output, name, window.device, window.staged, window.bytes_held};
  } else if (!is_new) {
    window.begin = std::min(window.begin, begin);
    window.end = std::max(window.end, end);
    window.names += std::string(", ") + name;
  }
}

// Memory on the device for a window; the same as long as it fits.
void DeviceCalls::hold(Window& window) {
  const auto bytes = static_cast<std::uint64_t>(window.end - window.begin + kAroundBytes);
  if (bytes <= window.bytes_held) return;
  for (std::uint64_t* const held : {&window.device, &window.staged}) {
    if (*held != 0) driver_->require(driver_->release(*held), "cuMemFree");
    *held = 0;
    window.bytes_held = 0;
    driver_->require(driver_->alloc(held, std::max(bytes, kHeldBytesMin)), "cuMemAlloc");
  }
  window.bytes_held = std::max(bytes, kHeldBytesMin);
}

void DeviceCalls::begin(const CallQuestion& asked, const MappedRegions& regions) {
  for (const std::uint64_t id : asked.unmap) {
    const auto gone = windows_.find(id);
    if (gone == windows_.end()) continue;
    for (const std::uint64_t held : {gone->second.device, gone->second.staged}) {
      if (held != 0) driver_->release(held);
    }
    windows_.erase(gone);
  }
  for (auto& [id, window] : windows_) window.end = window.begin;
  look_at(asked.q, "q", false, regions);
  look_at(asked.k, "k", false, regions);
  look_at(asked.v, "v", false, regions);
  look_at(asked.out, "out", true, regions);
  if (asked.asks_lse) look_at(asked.lse, "lse", true, regions);
  for (auto& [id, window] : windows_) {
    const auto bytes = static_cast<std::size_t>(window.end - window.begin);
    if (bytes == 0) continue;
    hold(window);
    const std::uint64_t place = window.is_output ? window.device : window.staged;
    driver_->require(driver_->to_device(place, window.host + window.begin, bytes), "cuMemcpyHtoD");
    const std::size_t untouched = window.is_output ? bytes : 0;  // from there on
    driver_->require(driver_->fill(window.device + untouched, kNanByte, bytes - untouched + kAroundBytes),
                     "cuMemsetD8");
  }
  driver_->require(driver_->wait_all(), "cuCtxSynchronize");
  driver_->require(driver_->launch_host(stream_, keep_waiting, nullptr), "cuLaunchHostFunc");
  for (auto& [id, window] : windows_) {
    const auto bytes = static_cast<std::size_t>(window.end - window.begin);
    if (bytes == 0 || window.is_output) continue;
    driver_->require(driver_->move(window.device, window.staged, bytes, stream_), "cuMemcpyDtoDAsync");
  }
}

rp_tensor DeviceCalls::place(const SentTensor& sent) const {
  rp_tensor tensor = sent.tensor;
  tensor.device = 0;
  const auto found = windows_.find(sent.region);
  if (found == windows_.end() || span_bytes(tensor) == 0) return tensor;
  const std::uint64_t begin = found->second.device + static_cast<std::uint64_t>(sent.offset - found->second.begin);
  tensor.data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(begin));
  return tensor;
}

std::vector<std::string> DeviceCalls::end() {
  std::vector<std::string> faults;
  driver_->require(driver_->wait_stream(stream_), "cuStreamSynchronize");
  for (auto& [id, window] : windows_) {
    const auto bytes = static_cast<std::size_t>(window.end - window.begin);
    if (bytes == 0 || !window.is_output) continue;
    driver_->require(driver_->to_host(window.host + window.begin, window.device, bytes), "cuMemcpyDtoH");
  }
  driver_->require(driver_->wait_all(), "cuCtxSynchronize");
  std::vector<std::byte> now;
  for (auto& [id, window] : windows_) {
    const auto bytes = static_cast<std::size_t>(window.end - window.begin);
    if (bytes == 0) continue;
    now.resize(bytes + kAroundBytes);
    driver_->require(driver_->to_host(now.data(), window.device, now.size()), "cuMemcpyDtoH");
    const auto is_nan_byte = [](std::byte byte) { return byte == std::byte{kNanByte}; };
    if (!std::all_of(now.begin() + window.end - window.begin, now.end(), is_nan_byte)) {
      faults.push_back("device memory behind the end of " + window.names + " was written");
    }
    if (std::memcmp(now.data(), window.host + window.begin, bytes) == 0) continue;
    faults.push_back(window.is_output ? window.names + " was written after its stream had finished"
                                      : "memory of the input " + window.names + " was changed on the device");
  }
  return faults;
}

}  // namespace ringproof

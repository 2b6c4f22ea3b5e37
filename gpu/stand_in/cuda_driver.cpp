// A shared object in the place of CUDA's driver, for tests of plug-ins that want device memory. Device memory is host
// memory; work given to a stream is put off until somebody waits for that stream, or for all; what is given without a
// stream is done at once. A null host function stands for a kernel that touches foreign memory: every later call fails.
// RINGPROOF_STAND_IN_NO_DEVICE in the environment: there is no device.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>

namespace {

constexpr int kNoDevice = 100, kIllegalAddress = 700;

using Stream = std::deque<std::function<void()>>;

std::list<Stream> streams;
int broken = 0;

int run(Stream& stream) {
  for (; !stream.empty(); stream.pop_front()) stream.front()();
  return broken;
}

void* at(std::uint64_t address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

}  // namespace

extern "C" {
int cuInit(unsigned) { return std::getenv("RINGPROOF_STAND_IN_NO_DEVICE") == nullptr ? 0 : kNoDevice; }
int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &streams;
  return 0;
}
int cuCtxSetCurrent(void*) { return 0; }
int cuStreamCreate(void** stream, unsigned) {
  *stream = &streams.emplace_back();
  return 0;
}
int cuMemAlloc_v2(std::uint64_t* address, std::size_t bytes) {
  *address = reinterpret_cast<std::uintptr_t>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return broken;
}
int cuMemFree_v2(std::uint64_t address) {
  std::free(at(address));
  return broken;
}
int cuMemsetD8_v2(std::uint64_t to, unsigned char value, std::size_t bytes) {
  std::memset(at(to), value, bytes);
  return broken;
}
int cuMemcpyHtoD_v2(std::uint64_t to, const void* from, std::size_t bytes) {
  std::memcpy(at(to), from, bytes);
  return broken;
}
int cuMemcpyDtoH_v2(void* to, std::uint64_t from, std::size_t bytes) {
  std::memcpy(to, at(from), bytes);
  return broken;
}
int cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void* stream) {
  static_cast<Stream*>(stream)->push_back([=] { std::memcpy(at(to), at(from), bytes); });
  return broken;
}
int cuLaunchHostFunc(void* stream, void (*work)(void*), void* given) {
  static_cast<Stream*>(stream)->push_back([=] {
    if (work == nullptr) broken = kIllegalAddress;
    if (broken == 0) work(given);
  });
  return broken;
}
int cuStreamSynchronize(void* stream) { return run(*static_cast<Stream*>(stream)); }
int cuCtxSynchronize() {
  for (Stream& stream : streams) run(stream);
  return broken;
}
int cuGetErrorString(int result, const char** text) {
  *text = result == kNoDevice ? "no CUDA-capable device is detected" : "an illegal memory access was encountered";
  return 0;
}
}

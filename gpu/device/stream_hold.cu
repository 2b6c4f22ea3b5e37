// One thread that asks a flag in the host's memory again and again; everything else of the device stays free.

#include "gpu/device/stream_hold.h"

#include "gpu/simt/cuda_api.h"

namespace ringproof {
namespace {

using simt::cuda::check;

constexpr long long kHoldCyclesMax = 180'000'000;  // 0.1 s at 1.8 GHz

__global__ void hold_stream(const volatile int* released) {
  const long long begin = clock64();
  while (*released == 0 && clock64() - begin < kHoldCyclesMax) __nanosleep(500);
}

}  // namespace

StreamHold::StreamHold(cudaStream_t stream) : stream_(stream) {
  void* flag = nullptr;
  check(cudaHostAlloc(&flag, sizeof(int), cudaHostAllocMapped), "cudaHostAlloc");
  released_ = static_cast<int*>(flag);
  *released_ = 0;
  simt::cuda::launch(hold_stream, dim3(1), dim3(1), 0, stream, static_cast<const volatile int*>(released_));
}

void StreamHold::release() { *static_cast<volatile int*>(released_) = 1; }

// The kernel reads the flag until it ends.
StreamHold::~StreamHold() {
  release();
  cudaStreamSynchronize(stream_);
  cudaFreeHost(released_);
}

}  // namespace ringproof

#pragma once

#include <cuda_runtime_api.h>

namespace ringproof {

/// Keeps everything later on `stream` waiting from its construction to release(), or for a tenth of a second, so that
/// nobody who waits for the stream too early waits for ever. Throws Error when it cannot be started.
class StreamHold {
 public:
  explicit StreamHold(cudaStream_t stream);
  ~StreamHold();
  StreamHold(const StreamHold&) = delete;
  StreamHold& operator=(const StreamHold&) = delete;

  void release();

 private:
  cudaStream_t stream_;
  int* released_ = nullptr;  // seen by the device
};

}  // namespace ringproof

// A tensor goes to the device as the stretch of memory from its first to its last element, so that the kernel meets the
// same strides and gaps there; outputs go up and come back the same way, and a store into a gap comes back with them.

#include "gpu/device_run.h"

#include <cstdint>
#include <optional>

#include "gpu/flash_problem.h"
#include "gpu/simt/cuda_api.h"

namespace ringproof {
namespace {

using simt::cuda::check;

constexpr std::int64_t kSpanBytesMax = std::int64_t{1} << 30;

/// Bytes from the first element of a view to one past its last.
std::int64_t span_bytes(const TensorView& view) {
  if (element_count(view.shape) == 0) return 0;
  std::int64_t last = 0;
  for (int axis = 0; axis < 4; ++axis) last += (view.shape[axis] - 1) * view.stride[axis];
  return (last + 1) * static_cast<std::int64_t>(size_bytes(view.dtype));
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// A copy of a host tensor on the device.
class DeviceTensor {
 public:
  DeviceTensor(const TensorView& host, cudaStream_t stream) : host_(host), copied_(host), stream_(stream) {
    // The last stride of an lse means nothing; its extent is 1, so no address depends on it.
    if (span_bytes(host) > kSpanBytesMax) {
      dense_.emplace(host.dtype, host.shape);
      copied_ = dense_->view();
      copy_elements(host, copied_);
    }
    bytes_ = static_cast<std::size_t>(span_bytes(copied_));
    if (bytes_ == 0) return;
    check(cudaMalloc(&data_, bytes_), "cudaMalloc");
    const cudaError_t status = cudaMemcpyAsync(data_, copied_.data, bytes_, cudaMemcpyHostToDevice, stream_);
    if (status != cudaSuccess) cudaFree(data_);
    check(status, "cudaMemcpyAsync to the device");
  }
  ~DeviceTensor() { cudaFree(data_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  TensorView view() const {
    TensorView view = copied_;
    view.data = data_;
    view.device = 0;
    return view;
  }
  /// Waits for the stream.
  void copy_back() {
    if (bytes_ == 0) return;
    check(cudaMemcpyAsync(copied_.data, data_, bytes_, cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync from the device");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    if (dense_) copy_elements(copied_, host_);
  }

 private:
  TensorView host_, copied_;
  std::optional<Tensor> dense_;
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
  cudaStream_t stream_;
};

}  // namespace

std::string device_missing_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) return std::string("no CUDA device (") + cudaGetErrorString(status) + ")";
  return count > 0 ? "" : "no CUDA device";
}

void run_on_device(void (*kernel)(const FlashParams&, void* stream), const TensorView& q, const TensorView& k,
                   const TensorView& v, const TensorView& out, const TensorView* lse, const Band& band,
                   double softmax_scale) {
  check(cudaSetDevice(0), "cudaSetDevice");
  const Stream stream;
  const DeviceTensor device_q(q, stream.get()), device_k(k, stream.get()), device_v(v, stream.get());
  DeviceTensor device_out(out, stream.get());
  std::optional<DeviceTensor> device_lse;
  TensorView lse_view;
  if (lse != nullptr) {
    device_lse.emplace(*lse, stream.get());
    lse_view = device_lse->view();
  }
  kernel(make_flash_params(device_q.view(), device_k.view(), device_v.view(), device_out.view(),
                           lse != nullptr ? &lse_view : nullptr, band, softmax_scale),
         stream.get());
  check(cudaStreamSynchronize(stream.get()), "flash kernel");
  device_out.copy_back();
  if (device_lse) device_lse->copy_back();
}

}  // namespace ringproof

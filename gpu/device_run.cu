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

/// A table on the device: a copy of `count` elements of host memory, or that much memory with nothing in it.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::int64_t count) {
    if (count > 0) check(cudaMalloc(&data_, static_cast<std::size_t>(count) * sizeof(T)), "cudaMalloc");
  }
  DeviceArray(const T* host, std::int64_t count) : DeviceArray(host == nullptr ? 0 : count) {
    if (data_ == nullptr) return;
    check(cudaMemcpy(data_, host, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
};

std::int64_t count_of_blocks(const FlashParams& params) {
  if (params.block_mask == nullptr || params.seqlen_q == 0 || params.seqlen_kv == 0) return 0;
  return ((params.seqlen_q - 1) / params.block_q + 1) * ((params.seqlen_kv - 1) / params.block_kv + 1);
}

}  // namespace

std::string device_missing_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) return std::string("no CUDA device (") + cudaGetErrorString(status) + ")";
  return count > 0 ? "" : "no CUDA device";
}

void run_on_device(const FlashKernel& kernel, const Problem& problem, const TensorView& q, const TensorView& k,
                   const TensorView& v, const TensorView& out, const TensorView* lse) {
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
  FlashParams params = make_flash_params(problem, device_q.view(), device_k.view(), device_v.view(), device_out.view(),
                                         lse != nullptr ? &lse_view : nullptr);
  const std::int64_t starts = params.documents + 1;
  const DeviceArray starts_q(params.document_starts_q, starts), starts_kv(params.document_starts_kv, starts);
  const DeviceArray flags(params.block_mask, count_of_blocks(params));
  const DeviceArray sink(params.sink, params.heads_q);
  params.document_starts_q = starts_q.get();
  params.document_starts_kv = starts_kv.get();
  params.block_mask = flags.get();
  params.sink = sink.get();
  const std::int64_t workspace_bytes = kernel.workspace_bytes != nullptr ? kernel.workspace_bytes(params) : 0;
  const DeviceArray<unsigned char> workspace(workspace_bytes);
  params.workspace = workspace.get();
  kernel.on_cuda(params, stream.get());
  check(cudaStreamSynchronize(stream.get()), kernel.name);
  device_out.copy_back();
  if (device_lse) device_lse->copy_back();
}

}  // namespace ringproof

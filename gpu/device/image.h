#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gpu/device/memory.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Device memory that stands for the host memory of one tensor, or of several that share memory: every element at the
/// same distance from the others as on the host, whatever the strides, guard zones around them. Every byte that is no
/// element holds a NaN pattern of the call, and is examined afterwards.
class DeviceImage {
 public:
  /// Lays the memory out for `views` (of host memory, with elements, of one dtype) and reads their elements. The same
  /// shape in another call comes to lie at the same addresses. Throws Error when the device has not the memory.
  void lay_out(const std::vector<TensorView>& views, std::uint64_t call);

  /// Where the byte at `host`, inside the views, lies on the device.
  std::byte* at(const void* host) const;

  /// Puts what arrive() will bring to the device, and NaN where it will bring it. Has happened when it returns.
  void send();
  /// Brings the elements and the pattern to where the kernel finds them, asynchronously on `stream`.
  void arrive(cudaStream_t stream) const;
  /// What arrive() brings from the next send() on: the elements with their signs turned; twice gives them back.
  void turn_signs();

  /// The bytes there now, after everything before on `stream`. Waits for it.
  std::vector<std::byte> fetch(cudaStream_t stream) const;

  /// Bytes of `got` that differ from what arrived, elements included or left out.
  std::int64_t bytes_changed(const std::vector<std::byte>& got, bool elements_too) const;
  /// Copies the elements of `got` to the host memory of the views.
  void give_back(const std::vector<std::byte>& got) const;

  std::int64_t bytes() const { return static_cast<std::int64_t>(sent_.size()); }

 private:
  // A stretch of the range, and where its bytes stand in what is sent and fetched.
  struct Piece {
    Stretch stretch;
    std::int64_t place;
  };
  void find_pieces();
  std::int64_t place_of(const void* host) const;
  template <class Work>
  void for_each_row(const Work& work) const;

  std::vector<TensorView> views_;
  std::uintptr_t host_begin_ = 0;  // the host address that the start of the range stands for
  std::vector<Piece> pieces_;
  DeviceMemory memory_, source_;
  std::vector<std::byte> sent_;
  std::vector<std::uint8_t>
      kind_;  // of every byte of sent_: 0 beside elements, 1 in an element, 2 its byte with the sign
};

}  // namespace ringproof

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ringproof {

/// A part of a range of addresses, counted in bytes from the start of the range.
struct Stretch {
  std::int64_t begin, bytes;
};

/// A range of device addresses with memory under some stretches of it: what lies far from all of them costs no memory,
/// and touching it is an error. Aligned to 256 bytes at least.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() { free(); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  /// Makes a range of `bytes` of which at least `stretches` are memory, ascending and not overlapping. One stretch
  /// that fits where the last range lies comes to lie there again. The contents are undefined.
  /// Throws Error when the device has not the memory.
  void reserve(std::int64_t bytes, const std::vector<Stretch>& stretches);

  std::byte* data() const { return data_; }

 private:
  void free();
  void reserve_sparse(std::int64_t bytes, const std::vector<Stretch>& stretches);

  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
  bool is_sparse_ = false;
  std::vector<Stretch> mapped_;  // of a sparse range, in whole grains of the driver's
};

}  // namespace ringproof

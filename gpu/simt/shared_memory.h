#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace ringproof::simt::host {

/// The shared memory of a block, aligned to 128 bytes, between guard zones: a read beyond its ends gives poison, a
/// write is found afterwards. Under AddressSanitizer there are no guard zones: it sees both where they happen.
class SharedMemory {
 public:
  static const std::size_t kGuardBytes;  ///< on either side

  /// Makes it `bytes` large, with undefined contents. To be called before anything else.
  void resize(std::size_t bytes);
  /// All bits set, guard zones included: NaN in every floating-point format.
  void poison();

  unsigned char* data() const { return memory_.get() + kGuardBytes; }
  std::size_t size() const { return bytes_; }
  /// The offset of the first byte of the guard zones that is no poison any more.
  std::optional<std::int64_t> written_beside() const;

 private:
  struct Free {
    void operator()(unsigned char* memory) const;
  };

  std::unique_ptr<unsigned char[], Free> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace ringproof::simt::host

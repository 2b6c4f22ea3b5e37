#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace ringproof {

/// Counts bytes of buffers that are alive, for a Communicator that passes allocate() on. Allocated on one thread,
/// released on any, and by buffers that outlive the count.
class MemoryCount {
 public:
  std::shared_ptr<std::byte> counted(const std::shared_ptr<std::byte>& memory, std::size_t bytes) {
    counts_->now += static_cast<std::int64_t>(bytes);
    counts_->peak = std::max(counts_->peak.load(), counts_->now.load());
    const auto release = [memory, bytes, counts = counts_](std::byte*) {
      counts->now -= static_cast<std::int64_t>(bytes);
    };
    return {memory.get(), release};
  }

  /// The most bytes that were alive at once.
  std::int64_t bytes_peak() const { return counts_->peak; }

 private:
  struct Counts {
    std::atomic<std::int64_t> now = 0, peak = 0;
  };
  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace ringproof

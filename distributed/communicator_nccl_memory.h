#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace ringproof {

/// Managed memory, zeroed, which host and device both reach. What is given back stays for the next who asks: CUDA would
/// wait for the whole device to take it back, and may not be called where a computation on the stream ends, which may
/// be the end of a buffer. All goes with the pool, which lives as long as any of it is out.
class ManagedPool : public std::enable_shared_from_this<ManagedPool> {
 public:
  ~ManagedPool();
  /// Throws Error.
  std::shared_ptr<std::byte> take(std::size_t bytes);

 private:
  std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;  // by size
};

}  // namespace ringproof

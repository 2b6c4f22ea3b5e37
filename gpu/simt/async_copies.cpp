#include "gpu/simt/async_copies.h"

#include <cstdint>
#include <cstring>

namespace ringproof::simt::host {
namespace {

constexpr unsigned char kPoison = 0xff;  // as float, double, bf16 and half: NaN

}  // namespace

void AsyncCopies::start(const AsyncCopy& copy) {
  std::memset(copy.shared, kPoison, copy.bytes);
  copies_.push_back(copy);
}

void AsyncCopies::retire(int groups_left, int thread, Observer* observer) {
  const auto left = static_cast<std::size_t>(groups_left);
  if (group_ends_.size() <= left) return;
  const std::size_t groups = group_ends_.size() - left, copies = group_ends_[groups - 1];
  for (std::size_t i = 0; i < copies; ++i) {
    const AsyncCopy& copy = copies_[i];
    if (copy.global != nullptr) {
      std::memcpy(copy.shared, copy.global, copy.bytes);
    } else {
      std::memset(copy.shared, 0, copy.bytes);
    }
    if (observer != nullptr) observer->copy_landed(thread, copy);
  }
  copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(copies));
  group_ends_.erase(group_ends_.begin(), group_ends_.begin() + static_cast<std::ptrdiff_t>(groups));
  for (std::size_t& end : group_ends_) end -= copies;
}

}  // namespace ringproof::simt::host

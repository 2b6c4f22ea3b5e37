#include "gpu/simt/shared_memory.h"

#include <cstring>
#include <new>

#include "gpu/simt/fiber.h"

namespace ringproof::simt::host {
namespace {

constexpr std::align_val_t kAlignment{128};
constexpr unsigned char kPoison = 0xff;

}  // namespace

const std::size_t SharedMemory::kGuardBytes = kUnderAddressSanitizer ? 0 : 512;

void SharedMemory::Free::operator()(unsigned char* memory) const { ::operator delete(memory, kAlignment); }

void SharedMemory::resize(std::size_t bytes) {
  if (memory_ != nullptr && bytes_ == bytes) return;
  memory_.reset(static_cast<unsigned char*>(::operator new(bytes + 2 * kGuardBytes, kAlignment)));
  bytes_ = bytes;
}

void SharedMemory::poison() { std::memset(memory_.get(), kPoison, bytes_ + 2 * kGuardBytes); }

std::optional<std::int64_t> SharedMemory::written_beside() const {
  const auto guard = static_cast<std::int64_t>(kGuardBytes), end = static_cast<std::int64_t>(bytes_);
  for (const std::int64_t begin : {-guard, end}) {
    for (std::int64_t offset = begin; offset < begin + guard; ++offset) {
      if (data()[offset] != kPoison) return offset;
    }
  }
  return {};
}

}  // namespace ringproof::simt::host

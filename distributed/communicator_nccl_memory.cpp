// One size class per size: an algorithm asks for the same few sizes call after call.

#include "distributed/communicator_nccl_memory.h"

#include <algorithm>
#include <cstring>

#include "distributed/communicator_nccl_comm.h"

namespace ringproof {

ManagedPool::~ManagedPool() {
  for (const auto& [bytes, memory] : free_) cudaFree(memory);
}

std::shared_ptr<std::byte> ManagedPool::take(std::size_t bytes) {
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  void* memory = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = free_.find(size);
    if (found != free_.end()) {
      memory = found->second;
      free_.erase(found);
    }
  }
  if (memory == nullptr) check(cudaMallocManaged(&memory, size, cudaMemAttachGlobal), "cudaMallocManaged");
  std::memset(memory, 0, size);
  return {static_cast<std::byte*>(memory), [pool = shared_from_this(), size](std::byte* at) {
            const std::lock_guard lock(pool->mutex_);
            pool->free_.emplace(size, at);
          }};
}

}  // namespace ringproof

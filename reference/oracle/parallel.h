#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ringproof {

/// Calls work(index) for every index in [0, count), handed out one by one to `threads` threads (the caller is
/// one of them). The first exception ends the hand-out and is thrown here.
template <class Work>
void parallel_for(std::int64_t count, int threads, const Work& work) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto take = [&] {
    try {
      for (std::int64_t index; (index = next.fetch_add(1)) < count;) work(index);
    } catch (...) {
      next = count;
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::jthread> helpers;
  for (std::int64_t t = 1; t < std::min<std::int64_t>(threads, count); ++t) helpers.emplace_back(take);
  take();
  helpers.clear();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace ringproof

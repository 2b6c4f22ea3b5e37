// Lamport's happened-before by vector clocks (Mattern 1989; Fidge 1988), with FastTrack's stamps: an access is known
// by its thread and one time, and it happened before what thread t does now iff t knows its thread up to that time.
//
// A thread's clock may advance at any moment, not only when it synchronises: all that counts is that nothing a thread
// does after it has told others of itself carries a time it has told. So all lanes of a warp share one clock, and the
// readers of an address are kept as one mask per warp and time (shadow.h).

#include "gpu/racecheck/ordering.h"

#include <algorithm>
#include <bit>

namespace ringproof::racecheck {

void Ordering::start(int thread_count) {
  thread_count_ = thread_count;
  const auto n = static_cast<std::size_t>(thread_count);
  times_.assign((n + kLanesPerWarp - 1) / kLanesPerWarp, 1);
  known_.assign(n * n, 0);
  for (int thread = 0; thread < thread_count; ++thread) known_[index(thread, thread)] = kEver;
  known_warps_.assign(n * times_.size(), 0);
  for (std::vector<std::uint32_t>& barrier : named_) barrier.clear();
}

void Ordering::learn(int thread, const std::vector<std::uint32_t>& told) {
  std::uint32_t* const own = &known_[index(thread, 0)];
  std::uint32_t* const warps = &known_warps_[static_cast<std::size_t>(thread) * times_.size()];
  for (std::size_t i = 0; i < told.size(); ++i) own[i] = std::max(own[i], told[i]);
  for (std::size_t warp = 0; warp < times_.size(); ++warp) {
    const std::size_t begin = warp * kLanesPerWarp, end = begin + kLanesPerWarp;
    warps[warp] = *std::min_element(own + begin, own + std::min(end, static_cast<std::size_t>(thread_count_)));
  }
}

void Ordering::tell(int thread, std::vector<std::uint32_t>& told) const {
  const std::uint32_t* const own = &known_[index(thread, 0)];
  told.resize(static_cast<std::size_t>(thread_count_), 0);
  const std::uint32_t told_of_itself = told[static_cast<std::size_t>(thread)];
  for (std::size_t i = 0; i < told.size(); ++i) told[i] = std::max(told[i], own[i]);
  told[static_cast<std::size_t>(thread)] = std::max(told_of_itself, time(thread));
}

void Ordering::synchronise(std::span<const int> threads) {
  gathered_.clear();
  for (const int thread : threads) tell(thread, gathered_);
  for (const int thread : threads) learn(thread, gathered_);
  int advanced = -1;
  for (const int thread : threads) {
    const int warp = thread / static_cast<int>(kLanesPerWarp);
    if (warp != advanced) ++times_[static_cast<std::size_t>(warp)];
    advanced = warp;
  }
}

void Ordering::arrive(int barrier, int thread) {
  tell(thread, named_[barrier]);
  ++times_[static_cast<std::size_t>(thread) / kLanesPerWarp];
}

void Ordering::pass(int barrier, int thread) { learn(thread, named_[barrier]); }

void Ordering::reset(int barrier) { named_[barrier].clear(); }

}  // namespace ringproof::racecheck

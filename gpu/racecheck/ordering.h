#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// Which accesses of one block happened before which, by CUDA's rules.
namespace ringproof::racecheck {

/// Vector clocks of the threads of one block. Every access carries the time of its thread; synchronisations pass on
/// what each thread knows of the others' times. Threads are numbered as in the block.
class Ordering {
 public:
  static constexpr std::size_t kLanesPerWarp = 32;

  /// Forgets everything; nobody knows anything of anybody.
  void start(int thread_count);

  int thread_count() const { return thread_count_; }

  /// What an access of `thread` is stamped with now; at least 1. Lanes of one warp have the same time.
  std::uint32_t time(int thread) const { return times_[static_cast<std::size_t>(thread) / kLanesPerWarp]; }

  /// Whether what `other` did up to `time` happened before what `thread` does from now on.
  bool knows(int thread, int other, std::uint32_t time) const { return known_[index(thread, other)] >= time; }
  /// The same for all lanes of a warp. Where it says no, each lane may still be known.
  bool knows_warp(int thread, int warp, std::uint32_t time) const {
    return known_warps_[static_cast<std::size_t>(thread) * times_.size() + static_cast<std::size_t>(warp)] >= time;
  }

  /// __syncthreads, __syncwarp: each of `threads` waits for all of them.
  void synchronise(std::span<const int> threads);

  /// barrier_arrive: what `thread` has done so far happened before what follows the barrier's waits.
  void arrive(int barrier, int thread);
  /// The end of barrier_sync, for a thread that has arrived as well.
  void pass(int barrier, int thread);
  /// The barrier is complete and all its waiting threads have passed: a new round begins.
  void reset(int barrier);

 private:
  static constexpr int kNamedBarriers = 16;
  static constexpr std::uint32_t kEver = 0xffffffffu;

  std::size_t index(int thread, int other) const {
    return static_cast<std::size_t>(thread) * static_cast<std::size_t>(thread_count_) + static_cast<std::size_t>(other);
  }
  void learn(int thread, const std::vector<std::uint32_t>& told);
  void tell(int thread, std::vector<std::uint32_t>& told) const;

  int thread_count_ = 0;
  std::vector<std::uint32_t> times_;  // per warp
  std::vector<std::uint32_t> known_;  // [thread][other]: the time up to which thread knows what other did; itself: ever
  std::vector<std::uint32_t> known_warps_;  // [thread][warp]: the least of its lanes
  std::vector<std::uint32_t> gathered_;
  std::vector<std::uint32_t> named_[kNamedBarriers];
};

}  // namespace ringproof::racecheck

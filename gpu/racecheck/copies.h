#pragma once

#include <cstdint>
#include <vector>

namespace ringproof::racecheck {

/// The cp.async groups of one block: which copies are still under way, and when the others were waited for.
class Copies {
 public:
  static constexpr std::uint32_t kUnderWay = 0xffffffffu;

  void start(int thread_count);

  /// The group in which a copy that `thread` starts now will be committed.
  std::uint32_t open_group(int thread);
  /// cp.async.commit_group.
  void commit(int thread);
  /// cp.async.wait_group: all but the latest `keep` groups committed by `thread` are complete, at `time`.
  void wait(int thread, int keep, std::uint32_t time);

  /// When `thread` waited for the group; kUnderWay before.
  std::uint32_t complete_at(std::uint32_t group) const { return complete_at_[group]; }

 private:
  struct Thread {
    std::uint32_t open = kUnderWay;        // none
    std::vector<std::uint32_t> committed;  // and not yet waited for, oldest first; an empty group is kUnderWay
  };
  std::vector<Thread> threads_;
  std::vector<std::uint32_t> complete_at_;
};

}  // namespace ringproof::racecheck

#pragma once

#include <cstddef>
#include <vector>

#include "gpu/simt/observer.h"

namespace ringproof::simt::host {

/// The cp.async copies that one thread has started and not yet waited for. They happen as late as the PTX ISA allows:
/// the destination holds poison from the start, and source and destination are touched again when the group retires.
class AsyncCopies {
 public:
  bool empty() const { return copies_.empty(); }
  /// Poisons the destination.
  void start(const AsyncCopy& copy);
  /// All copies started since the last commit become a group, perhaps an empty one.
  void commit() { group_ends_.push_back(copies_.size()); }
  /// Carries out every group but the latest `groups_left`, in order, and tells the observer unless it is null.
  void retire(int groups_left, int thread, Observer* observer);
  /// Requires that there is one.
  const AsyncCopy& oldest() const { return copies_.front(); }
  std::size_t count() const { return copies_.size(); }

 private:
  std::vector<AsyncCopy> copies_;
  std::vector<std::size_t> group_ends_;  ///< of each committed group: its end in copies_
};

}  // namespace ringproof::simt::host

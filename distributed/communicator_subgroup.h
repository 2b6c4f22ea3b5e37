#pragma once

#include <vector>

#include "distributed/communicator.h"

namespace ringproof {

/// Some ranks of another Communicator as a group of their own, on the same transport. Its rank i is the parent's
/// members[i]; every member makes one with the same list. Events, deadlines and failures are the parent's: they name
/// its ranks, and a failure anywhere ends all. Transfers between two ranks meet in the order posted, whichever group
/// posted them.
class SubgroupCommunicator final : public Communicator {
 public:
  /// Requires distinct members, the parent's own rank among them. `parent` outlives this.
  SubgroupCommunicator(Communicator& parent, std::vector<int> members);

  int rank() const override { return rank_; }
  int rank_count() const override { return static_cast<int>(members_.size()); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return parent_.allocate(bytes); }
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    parent_.name_memory(memory, name);
  }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override;
  Event compute(const Compute& compute, std::span<const Event> after) override {
    return parent_.compute(compute, after);
  }
  void wait(Event event) override { parent_.wait(event); }
  /// An exchange of empty messages among the members.
  void barrier() override;
  void withdraw() noexcept override { parent_.withdraw(); }

 private:
  int parent_rank(int peer, const TransferHeader& header) const;

  Communicator& parent_;
  std::vector<int> members_;
  int rank_ = -1;
};

}  // namespace ringproof

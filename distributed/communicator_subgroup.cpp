// Only names change on the way: rank i of the group is rank members[i] of the parent.

#include "distributed/communicator_subgroup.h"

#include <string>

#include "distributed/collectives.h"
#include "reference/spec/error.h"

namespace ringproof {

SubgroupCommunicator::SubgroupCommunicator(Communicator& parent, std::vector<int> members)
    : parent_(parent), members_(std::move(members)) {
  for (std::size_t index = 0; index < members_.size(); ++index) {
    if (members_[index] == parent.rank()) rank_ = static_cast<int>(index);
  }
  assert_that(rank_ >= 0, "a rank makes only groups that it belongs to");
}

int SubgroupCommunicator::parent_rank(int peer, const TransferHeader& header) const {
  if (peer >= 0 && peer < rank_count()) return members_[static_cast<std::size_t>(peer)];
  throw Error("rank " + std::to_string(parent_.rank()) + ", step " + std::to_string(header.step) + ": block " +
              std::to_string(header.block) + " part " + std::to_string(header.part) + " has peer " +
              std::to_string(peer) + ", outside [0, " + std::to_string(rank_count()) + ")");
}

Event SubgroupCommunicator::exchange(const Exchange& exchange, std::span<const Event> after) {
  Exchange of_parent = exchange;
  for (Send& send : of_parent.sends) send.peer = parent_rank(send.peer, send.header);
  for (Receive& receive : of_parent.receives) receive.peer = parent_rank(receive.peer, receive.header);
  return parent_.exchange(of_parent, after);
}

void SubgroupCommunicator::barrier() {
  const std::vector<std::span<std::byte>> nothing(members_.size());
  Exchange exchange;
  add_all_gather(exchange, *this, {}, nothing, {0, -1, 0, -1});
  wait(this->exchange(exchange, {}));
}

}  // namespace ringproof

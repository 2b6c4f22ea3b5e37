// An exchange is recorded before it is passed on, so that a record says when the algorithm asked, however long the
// transport holds the caller; a computation is recorded where it runs, which may be later and on another thread.

#include "distributed/communicator_recording.h"

namespace ringproof {

void RecordingCommunicator::record(Record::Kind kind, const std::string& name, int step, std::int64_t bytes_sent,
                                   std::int64_t bytes_received) {
  const std::lock_guard lock(mutex_);
  records_.push_back({kind, name, step, bytes_sent, bytes_received, order_.fetch_add(1)});
}

Event RecordingCommunicator::exchange(const Exchange& exchange, std::span<const Event> after) {
  int step = -1;
  std::int64_t bytes_sent = 0, bytes_received = 0;
  for (const Send& send : exchange.sends) {
    step = send.header.step;
    bytes_sent += static_cast<std::int64_t>(send.bytes.size());
  }
  for (const Receive& receive : exchange.receives) {
    step = receive.header.step;
    bytes_received += static_cast<std::int64_t>(receive.bytes.size());
  }
  record(Record::Kind::kExchangePosted, "", step, bytes_sent, bytes_received);
  return inner_.exchange(exchange, after);
}

Event RecordingCommunicator::compute(const Compute& compute, std::span<const Event> after) {
  Compute recorded = compute;
  recorded.run = [this, name = compute.name, step = compute.step, run = compute.run](void* stream) {
    record(Record::Kind::kComputeBegun, name, step);
    run(stream);
    record(Record::Kind::kComputeEnded, name, step);
  };
  return inner_.compute(recorded, after);
}

std::shared_ptr<std::byte> RecordingCommunicator::allocate(std::size_t bytes) {
  return memory_.counted(inner_.allocate(bytes), bytes);
}

void RecordingCommunicator::wait(Event event) {
  record(Record::Kind::kWaitBegun, "", -1);
  inner_.wait(event);
  record(Record::Kind::kWaitEnded, "", -1);
}

void RecordingCommunicator::barrier() {
  record(Record::Kind::kBarrier, "", -1);
  inner_.barrier();
}

}  // namespace ringproof

#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/memory_count.h"

namespace ringproof {

/// Something a rank did through its Communicator, with its place in the order of all ranks.
struct Record {
  enum class Kind : std::int32_t { kExchangePosted, kWaitBegun, kWaitEnded, kComputeBegun, kComputeEnded, kBarrier };

  Kind kind;
  std::string name;         ///< of the computation; empty otherwise
  int step;                 ///< of the computation or of the exchange's headers; -1 otherwise
  std::int64_t bytes_sent;  ///< payload of an exchange, without headers
  std::int64_t bytes_received;
  std::int64_t order;  ///< later is larger, across all ranks that share a counter
};

/// Passes everything on to another Communicator and writes down what was asked and when. Records of one rank stand in
/// its order; read them when the rank has ended.
class RecordingCommunicator final : public Communicator {
 public:
  /// `inner` and `order`, which the ranks of a group share, outlive this.
  RecordingCommunicator(Communicator& inner, std::atomic<std::int64_t>& order) : inner_(inner), order_(order) {}

  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override;
  Event compute(const Compute& compute, std::span<const Event> after) override;
  void wait(Event event) override;
  void barrier() override;
  void withdraw() noexcept override { inner_.withdraw(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    inner_.name_memory(memory, name);
  }

  const std::vector<Record>& records() const { return records_; }
  /// The most bytes of allocate() that were alive at once.
  std::int64_t memory_bytes_peak() const { return memory_.bytes_peak(); }

 private:
  void record(Record::Kind kind, const std::string& name, int step, std::int64_t bytes_sent = 0,
              std::int64_t bytes_received = 0);

  Communicator& inner_;
  MemoryCount memory_;
  std::atomic<std::int64_t>& order_;
  std::mutex mutex_;  // a transport may compute on another thread
  std::vector<Record> records_;
};

}  // namespace ringproof

#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "distributed/communicator.h"

namespace ringproof {

/// What befalls a message between two ranks, or a rank.
enum class FaultKind : std::int32_t {
  kNone,
  kDelay,      ///< it comes late
  kReorder,    ///< it and another one to the same peer come in each other's place
  kDuplicate,  ///< it comes twice, and all later ones to that peer one place later
  kDrop,       ///< it never comes
  kTruncate,   ///< only its first bytes come
  kFlipBit,    ///< one bit of it is another
  kStale,      ///< an earlier one to that peer comes in its place
  kWrongPeer,  ///< it and one to another peer come in each other's place; where there is no other, it is lost
  kDeadRank,   ///< its sender goes without a word instead of sending it
};
inline constexpr int kFaultKinds = 10;

std::string_view to_string(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kNone;
  int rank = 0;               ///< the sender
  std::int64_t transfer = 0;  ///< which of its messages, in the order posted
  std::uint64_t salt = 0;     ///< which bit, how many bytes
};

/// A pure function of the seed: a kind other than kNone, a rank, one of its first `transfers` messages.
Fault fault_of(std::uint64_t seed, int rank_count, std::int64_t transfers);

/// Any transport, on a wire that commits one fault.
///
/// Every message carries an envelope: its header, length and checksum. With `is_checked` they are compared when it
/// arrives, and a message that is not the wanted one is an Error that names rank, step and both; without, whatever
/// came is taken. A message that never comes is found by the transport: at once where that sees that nobody can go on
/// (simulated), at the deadline elsewhere. Buffers that travel are copied on both sides.
class FaultyCommunicator final : public Communicator {
 public:
  /// `was_committed`, of the run, becomes true when something other than the right message comes, or nothing. All
  /// outlive this.
  FaultyCommunicator(Communicator& inner, const Fault& fault, bool is_checked, std::atomic<bool>& was_committed);
  ~FaultyCommunicator() override;

  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    inner_.name_memory(memory, name);
  }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override;
  Event compute(const Compute& compute, std::span<const Event> after) override;
  void wait(Event event) override;
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override;

 private:
  struct Message;
  struct Letters;
  struct Wire;

  std::vector<Event> inner_events(std::span<const Event> events);
  Event opened(Event event);
  Event delayed(std::vector<Event>& after);
  void require_life(const Exchange& exchange);

  Communicator& inner_;
  const Fault fault_;
  const bool is_checked_;
  std::shared_ptr<Wire> wire_;
  struct Posted {
    Event event;                       // of the inner transport
    std::shared_ptr<Letters> letters;  // that came and were not opened yet
  };
  std::vector<Posted> posted_;               // by event id - 1
  std::vector<std::shared_ptr<void>> held_;  // memory of transfers, until withdraw()
  std::int64_t sent_ = 0;
};

/// Ranks of `inner` on such wires.
Launcher faulty_launcher(const Launcher& inner, const Fault& fault, bool is_checked,
                         std::shared_ptr<std::atomic<bool>> was_committed);

}  // namespace ringproof

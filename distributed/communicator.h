#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ringproof {

/// Something that happens later on this rank: an exchange or a compute that ends. Valid with the Communicator that
/// gave it; the default Event has happened already.
struct Event {
  std::int64_t id = 0;
};

/// Travels with every transfer and is compared on arrival, so that a misrouted, stale or mismatched block is an Error
/// that names rank and step instead of a wrong answer.
struct TransferHeader {
  std::uint64_t case_id = 0;   ///< which call of the algorithm this belongs to; the same on all ranks
  std::int32_t step = 0;       ///< at which step the receiver uses the block
  std::int32_t block = 0;      ///< whose block it is
  std::int32_t part = 0;       ///< which tensor of the block: 0 K, 1 V
  std::uint64_t checksum = 0;  ///< of the payload; 0 off
  bool operator==(const TransferHeader&) const = default;
};

/// Bytes that a process sends with every transfer beside its payload: header and length.
inline constexpr std::size_t kTransferHeaderBytes = sizeof(TransferHeader) + sizeof(std::uint64_t);

/// One side of a point-to-point transfer. Both sides give the same header and length; length 0 is legal.
struct Send {
  int peer;
  std::span<const std::byte> bytes;
  TransferHeader header;
};

struct Receive {
  int peer;
  std::span<std::byte> bytes;
  TransferHeader header;
};

/// Transfers that are posted together and make progress together, in any order, so that no order of sends and
/// receives deadlocks. Between one pair of ranks, sends meet receives in the order in which they were posted.
struct Exchange {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  std::string name = "exchange";  ///< in reports, as a Compute's
};

/// A piece of computation of one rank, with the memory it touches (for the analysis of who waits for whom).
struct Compute {
  std::string name;  ///< "local step", "merge", ...
  int step;
  std::vector<std::span<const std::byte>> reads, writes;
  std::function<void(void* stream)> run;  ///< stream: a cudaStream_t, null on the host
  bool enqueues = false;  ///< `run` only gives work to the stream it gets; else it computes on the host by itself
};

/// One rank's place among rank_count ranks, and its two queues: transfers and computations. The one abstract class:
/// an algorithm is written once against it and runs on every transport.
///
/// All waiting stands in the algorithm's source, as the `after` of what must not start early and as wait().
/// Computations of a rank run in the order in which they were given; exchanges are ordered only by `after`. A
/// transport may hold the caller until `after` has happened, but never until a peer has done its part of the same
/// exchange.
///
/// Every wait has a deadline. On its expiry, on a header or length that does not match, on a peer that has ended or
/// failed, or on a peer outside [0, rank_count), Error is thrown, which names rank, step, peer and block; the group
/// has then failed, and every other rank gets Error from its next or present call. Used by one thread per rank.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int rank_count() const = 0;

  /// Memory for what this rank exchanges and computes on, zeroed; may be empty. Host memory, unless the transport
  /// moves data on devices. An algorithm takes all its buffers here, so that they are counted, and may be kept where
  /// a transfer that failed might still write them.
  virtual std::shared_ptr<std::byte> allocate(std::size_t bytes) {
    return {new std::byte[bytes](), std::default_delete<std::byte[]>()};
  }

  /// What reports call this memory. Most transports report none.
  virtual void name_memory(std::span<const std::byte> /*memory*/, const std::string& /*name*/) {}

  /// Posts all transfers, to start once `after` has happened. The Event is their end: sent memory may be written,
  /// received memory read. Until then the memory stays where it is and is not written (sent) or touched (received).
  virtual Event exchange(const Exchange& exchange, std::span<const Event> after) = 0;

  /// Runs the computation once `after` has happened, now or later; the Event is its end.
  virtual Event compute(const Compute& compute, std::span<const Event> after) = 0;

  /// Returns when `event` has happened.
  virtual void wait(Event event) = 0;

  /// Returns when every rank has called it.
  virtual void barrier() = 0;

  /// Takes back this rank's transfers and computations that have not ended, so that their memory may go. If there was
  /// one, the group has failed. Waits for what is under way on this rank, and for no peer.
  virtual void withdraw() noexcept = 0;
};

/// Withdraws at the end of a scope. Stands after the buffers of an algorithm, so that it acts before they go, on the
/// way of an exception too.
class WithdrawAtExit {
 public:
  explicit WithdrawAtExit(Communicator& communicator) : communicator_(communicator) {}
  ~WithdrawAtExit() { communicator_.withdraw(); }
  WithdrawAtExit(const WithdrawAtExit&) = delete;
  WithdrawAtExit& operator=(const WithdrawAtExit&) = delete;

 private:
  Communicator& communicator_;
};

/// Starts rank_count ranks on some transport, runs `body` on each, concurrently, and returns when all have ended. An
/// exception of one rank ends the others and is thrown here as Error, naming the rank.
using Launcher = std::function<void(int rank_count, const std::function<void(Communicator&)>& body)>;

}  // namespace ringproof

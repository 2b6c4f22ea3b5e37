#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/side_channel.h"

namespace ringproof {

/// One side of a point-to-point transfer, as its rank has posted it.
struct PostedTransfer {
  bool is_send;
  int peer;
  TransferHeader header;
  std::span<std::byte> bytes;  ///< only read when is_send
  bool is_met = false;         ///< by its counterpart; JobPeers keeps it
};

/// What a rank of a job of processes knows of the others, for a transport that moves bytes and no more: which transfers
/// their headers have met, who has failed and why, who has ended, small messages. The first failure anyone hears of
/// ends the job; the last sentence of a rank that failed by itself is its cause. Used by the rank's thread and by those
/// of its transport.
class JobPeers {
 public:
  JobPeers(int rank, int rank_count, std::vector<int> sockets, std::chrono::milliseconds deadline);
  ~JobPeers() { close(); }
  JobPeers(const JobPeers&) = delete;
  JobPeers& operator=(const JobPeers&) = delete;

  int rank() const { return rank_; }
  int rank_count() const { return rank_count_; }
  std::chrono::milliseconds deadline() const { return deadline_; }

  /// Tells the peer of a transfer. Whoever receives compares header and length; a difference fails the job.
  void post(const std::shared_ptr<PostedTransfer>& transfer);
  bool is_met(const PostedTransfer& transfer) const;
  /// Not met, and never will be, for no failure known yet: a known one is the cause, and require_alive names it.
  bool is_lost(const PostedTransfer& transfer) const;

  /// Fails the job, in words that begin with "rank N"; every other rank is told.
  void fail(const std::string& sentence);
  /// The same, unless the job has failed already.
  void fail_once(const std::string& sentence);
  /// What failed first, as far as this rank knows; empty while nothing has.
  std::string failure() const;
  /// Throws once the job has failed: Error by this rank's own failure, GroupFailed by another's.
  void require_alive() const;

  /// Tells the others of a failure that a thread which may not wait has met.
  void tell_failure();

  /// What this rank does now, for reports: "waits for ...".
  void stand(const std::string& text);
  std::string standing() const;

  /// Every rank's text, by rank. Collective, once. Throws as require_alive(), and when the deadline has passed.
  std::vector<std::string> gather(const std::string& text);
  /// Rank 0's bytes, on every rank. Collective, once.
  std::vector<std::byte> from_rank_0(std::span<const std::byte> bytes);

  /// Messages beside the transport; receive() waits for the deadline, or as long as it takes.
  void send(int rank, std::span<const std::byte> bytes);
  std::vector<std::byte> receive(int rank, bool is_patient);

  /// Tells all that this rank has ended, with its own cause unless it ended because of another, and waits for theirs.
  /// Returns what the job ended by: the cause of the first rank that has one; empty where all is well.
  std::string end(bool is_consequence);
  /// Hears nothing more.
  void close() { channel_.reset(); }

  /// Waits a moment, longer with later turns, less where something is heard.
  void rest(int turn);
  void wake();
  std::string name() const;

 private:
  struct Wire {
    TransferHeader header;
    std::uint64_t count = 0;
    std::int32_t is_send = 0, reserved = 0;
  };
  // What a peer and this rank have posted for each other and not yet found in the other's list.
  struct Route {
    std::deque<std::shared_ptr<PostedTransfer>> sends, receives;
    std::deque<Wire> peer_sends, peer_receives;
  };

  void on_message(int from, int kind, std::span<const std::byte> bytes);
  void on_posted(int from, const Wire& wire);
  void on_gone(int rank);
  // The following need the lock.
  void meet(PostedTransfer& transfer, const Wire& other);
  void fail_locked(const std::string& sentence);
  void require_alive_locked() const;
  template <class Test>
  void until_true(std::unique_lock<std::mutex>& lock, const std::string& what, bool is_patient, const Test& is_true);

  const int rank_, rank_count_;
  const std::chrono::milliseconds deadline_;
  mutable std::mutex mutex_;  // of all that follows but the channel
  std::condition_variable changed_;
  std::vector<Route> routes_;  // by peer
  std::vector<bool> has_ended_;
  std::vector<std::string> causes_;  // of ranks that ended by their own failure
  std::vector<std::deque<std::vector<std::byte>>> messages_;
  std::map<int, std::string> texts_;
  std::vector<std::byte> of_rank_0_;
  std::string failure_, own_failure_, standing_ = "begins";
  bool is_failure_told_ = false;
  std::unique_ptr<SideChannel> channel_;
};

}  // namespace ringproof

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace ringproof {

/// Sockets from every rank to rank 0, which listens at host:port: on rank 0 one per rank (its own -1), elsewhere the
/// one to rank 0. Waits for all ranks; throws Error naming those that have not come when `deadline` has passed, or when
/// the address cannot be had. Who connects without being a rank of this job is sent away.
std::vector<int> connect_ranks(int rank, int rank_count, const std::string& host, int port,
                               std::chrono::milliseconds deadline);

/// Small messages between the ranks of a job beside its transport: who has posted what, who has failed, who has ended.
/// Rank 0 passes on what others send to each other. Messages between two ranks arrive in the order sent.
class SideChannel {
 public:
  /// What arrives, called on a thread of the channel's own, one at a time. It may send.
  struct Listener {
    std::function<void(int from, int kind, std::span<const std::byte> bytes)> on_message;
    std::function<void(int rank)> on_gone;  ///< its process has closed the channel, or is no more
  };

  /// Takes over the sockets of connect_ranks(). A send that its peer does not take within `deadline` is given up.
  SideChannel(int rank, int rank_count, std::vector<int> sockets, std::chrono::milliseconds deadline,
              Listener listener);
  /// Rank 0 first passes on what others still send each other, until they have closed or a deadline has passed.
  ~SideChannel();
  SideChannel(const SideChannel&) = delete;
  SideChannel& operator=(const SideChannel&) = delete;

  /// To another rank, or to all others. `kind` is at least 0. To a rank that is gone: nothing happens. From any thread.
  void send(int to, int kind, std::span<const std::byte> bytes) noexcept;
  void send_to_all(int kind, std::span<const std::byte> bytes) noexcept;

 private:
  struct Frame {
    std::int32_t from, to, kind, reserved;
    std::uint64_t count;
  };
  void listen();
  bool take_one(int index);
  void write(const Frame& frame, std::span<const std::byte> bytes) noexcept;

  const int rank_, rank_count_;
  const std::chrono::milliseconds deadline_;
  std::vector<int> sockets_;
  std::vector<std::mutex> writing_;
  std::vector<bool> is_open_;  // of the listening thread alone
  int wake_[2] = {-1, -1};
  Listener listener_;
  std::thread thread_;
};

}  // namespace ringproof

// A star of TCP connections with rank 0 in the middle: few messages, all small, and one address that a launcher has to
// tell. Every process has one thread that only reads, so that a write waits for a peer's reader and never for its work.

#include "distributed/side_channel.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::int32_t kGone = -1;
constexpr std::uint64_t kGreeting = 0x72696e6770726f66;  // "ringprof"
constexpr milliseconds kGreetingWait{2000};

struct Greeting {
  std::uint64_t word = kGreeting;
  std::int32_t rank = 0, rank_count = 0;
};

void limit_waits(int socket, milliseconds limit) {
  const timeval time{static_cast<time_t>(limit.count() / 1000), static_cast<suseconds_t>(limit.count() % 1000 * 1000)};
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

bool write_all(int socket, const void* data, std::size_t count) {
  const auto* at = static_cast<const char*>(data);
  while (count > 0) {
    const ssize_t written = ::send(socket, at, count, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    at += written;
    count -= static_cast<std::size_t>(written);
  }
  return true;
}

bool read_all(int socket, void* data, std::size_t count) {
  auto* at = static_cast<char*>(data);
  while (count > 0) {
    const ssize_t got = recv(socket, at, count, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

std::string address_words(const std::string& host, int port) { return host + ":" + std::to_string(port); }

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses addresses_of(const std::string& host, int port, bool is_listening) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_family = is_listening ? AF_INET : AF_UNSPEC;
  hints.ai_flags = is_listening ? AI_PASSIVE : 0;
  const int code = getaddrinfo(is_listening ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) throw Error("the address " + address_words(host, port) + " cannot be found: " + gai_strerror(code));
  return {found, freeaddrinfo};
}

int listen_at(const std::string& host, int port) {
  const Addresses address = addresses_of(host, port, true);
  const int socket = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (socket < 0 || bind(socket, address->ai_addr, address->ai_addrlen) != 0 || listen(socket, SOMAXCONN) != 0) {
    const std::string reason = std::strerror(errno);
    if (socket >= 0) close(socket);
    throw Error("rank 0 cannot listen at " + address_words(host, port) + ": " + reason);
  }
  return socket;
}

std::vector<int> accept_ranks(int rank_count, const std::string& host, int port, milliseconds deadline) {
  const auto until = Clock::now() + deadline;
  std::vector<int> sockets(static_cast<std::size_t>(rank_count), -1);
  const int listening = rank_count > 1 ? listen_at(host, port) : -1;
  for (int missing = rank_count - 1; missing > 0;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now()).count();
    pollfd ready{listening, POLLIN, 0};
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) == 0) {
      std::string names;
      for (std::size_t rank = 1; rank < sockets.size(); ++rank) {
        if (sockets[rank] < 0) names += (names.empty() ? "" : ", ") + std::to_string(rank);
        if (sockets[rank] >= 0) close(sockets[rank]);
      }
      close(listening);
      throw Error("of " + std::to_string(rank_count) + " ranks these did not come to " + address_words(host, port) +
                  " within " + std::to_string(deadline.count()) + " ms: " + names);
    }
    const int socket = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    limit_waits(socket, std::min(deadline, kGreetingWait));
    Greeting greeting;
    const bool is_ours = read_all(socket, &greeting, sizeof greeting) && greeting.word == kGreeting &&
                         greeting.rank_count == rank_count && greeting.rank > 0 && greeting.rank < rank_count &&
                         sockets[static_cast<std::size_t>(greeting.rank)] < 0;
    if (!is_ours) {
      close(socket);
      continue;
    }
    sockets[static_cast<std::size_t>(greeting.rank)] = socket;
    --missing;
  }
  if (listening >= 0) close(listening);
  return sockets;
}

std::vector<int> reach_rank_0(int rank, int rank_count, const std::string& host, int port, milliseconds deadline) {
  const auto until = Clock::now() + deadline;
  const Addresses addresses = addresses_of(host, port, false);
  for (;;) {
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
      const int socket = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (socket < 0) continue;
      limit_waits(socket, deadline);
      const Greeting greeting{kGreeting, rank, rank_count};
      if (connect(socket, address->ai_addr, address->ai_addrlen) == 0 &&
          write_all(socket, &greeting, sizeof greeting)) {
        return {socket};
      }
      close(socket);
    }
    if (Clock::now() >= until) {
      throw Error("rank " + std::to_string(rank) + " did not find rank 0 at " + address_words(host, port) + " within " +
                  std::to_string(deadline.count()) + " ms");
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

}  // namespace

std::vector<int> connect_ranks(int rank, int rank_count, const std::string& host, int port, milliseconds deadline) {
  return rank == 0 ? accept_ranks(rank_count, host, port, deadline)
                   : reach_rank_0(rank, rank_count, host, port, deadline);
}

SideChannel::SideChannel(int rank, int rank_count, std::vector<int> sockets, milliseconds deadline, Listener listener)
    : rank_(rank),
      rank_count_(rank_count),
      deadline_(deadline),
      sockets_(std::move(sockets)),
      writing_(sockets_.size()),
      listener_(std::move(listener)) {
  for (const int socket : sockets_) {
    is_open_.push_back(socket >= 0);
    if (socket < 0) continue;
    const int yes = 1;
    limit_waits(socket, deadline);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wake_) != 0) throw Error("no socket could be made");
  thread_ = std::thread([this] { listen(); });
}

SideChannel::~SideChannel() {
  close(wake_[1]);
  thread_.join();
  close(wake_[0]);
  for (const int socket : sockets_) {
    if (socket >= 0) close(socket);
  }
}

void SideChannel::send(int to, int kind, std::span<const std::byte> bytes) noexcept {
  write({rank_, to, kind, 0, bytes.size()}, bytes);
}

void SideChannel::send_to_all(int kind, std::span<const std::byte> bytes) noexcept {
  for (int peer = 0; peer < rank_count_; ++peer) {
    if (peer != rank_) send(peer, kind, bytes);
  }
}

void SideChannel::write(const Frame& frame, std::span<const std::byte> bytes) noexcept {
  const auto index = static_cast<std::size_t>(rank_ == 0 ? frame.to : 0);
  const std::lock_guard lock(writing_[index]);
  const bool is_written =
      write_all(sockets_[index], &frame, sizeof frame) && write_all(sockets_[index], bytes.data(), bytes.size());
  if (!is_written) shutdown(sockets_[index], SHUT_RDWR);  // half a message must not be read as another
}

// At its end rank 0 goes on passing messages on until the others have closed.
void SideChannel::listen() {
  Clock::time_point until = Clock::time_point::max();
  for (;;) {
    const bool is_ending = until != Clock::time_point::max();
    std::vector<pollfd> ready{{is_ending ? -1 : wake_[0], POLLIN, 0}};
    std::vector<int> indices{-1};
    for (std::size_t index = 0; index < sockets_.size(); ++index) {
      if (!is_open_[index]) continue;
      ready.push_back({sockets_[index], POLLIN, 0});
      indices.push_back(static_cast<int>(index));
    }
    if (is_ending && (ready.size() == 1 || Clock::now() >= until)) return;
    if (poll(ready.data(), ready.size(), is_ending ? 50 : -1) < 0) continue;
    if (ready.front().revents != 0) {
      if (rank_ != 0) return;
      until = Clock::now() + deadline_;
    }
    for (std::size_t at = 1; at < ready.size(); ++at) {
      if (ready[at].revents == 0 || take_one(indices[at])) continue;
      is_open_[static_cast<std::size_t>(indices[at])] = false;
      const int gone = indices[at];  // elsewhere than on rank 0 the only index is 0, whose rank that is
      listener_.on_gone(gone);
      for (int peer = 1; rank_ == 0 && peer < rank_count_; ++peer) {
        if (is_open_[static_cast<std::size_t>(peer)]) write({gone, peer, kGone, 0, 0}, {});
      }
    }
  }
}

// False when the connection has ended.
bool SideChannel::take_one(int index) {
  const int socket = sockets_[static_cast<std::size_t>(index)];
  Frame frame{};
  if (!read_all(socket, &frame, sizeof frame)) return false;
  std::vector<std::byte> bytes(frame.count);
  if (!read_all(socket, bytes.data(), bytes.size())) return false;
  if (frame.to != rank_) {
    if (is_open_[static_cast<std::size_t>(frame.to)]) write(frame, bytes);
  } else if (frame.kind == kGone) {
    listener_.on_gone(frame.from);
  } else {
    listener_.on_message(frame.from, frame.kind, bytes);
  }
  return true;
}

}  // namespace ringproof

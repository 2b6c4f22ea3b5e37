#include "distributed/side_channel.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <memory>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLong{20'000}, kShort{200};

// One that nobody listens at.
int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  bind(socket, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  close(socket);
  return ntohs(address.sin_port);
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// What a rank has heard.
struct Heard {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> words;

  SideChannel::Listener listener() {
    return {[this](int from, int kind, std::span<const std::byte> bytes) {
              add(std::to_string(from) + " " + std::to_string(kind) + " " +
                  std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
            },
            [this](int rank) { add(std::to_string(rank) + " is gone"); }};
  }
  void add(const std::string& word) {
    const std::lock_guard lock(mutex);
    words.push_back(word);
    changed.notify_all();
  }
  std::vector<std::string> first(std::size_t count) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, kLong, [&] { return words.size() >= count; });
    return words;
  }
};

TEST(SideChannels, MessagesOfAllKindsArriveInOrderAndAClosedRankIsGone) {
  const int port = free_port();
  std::array<Heard, 3> heard;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      Heard& mine = heard.at(static_cast<std::size_t>(rank));
      auto channel = std::make_unique<SideChannel>(rank, 3, connect_ranks(rank, 3, "127.0.0.1", port, kLong), kLong,
                                                   mine.listener());
      if (rank == 1) {
        channel->send(2, 5, bytes_of("to one"));
        channel->send_to_all(6, bytes_of(""));
        channel->send(2, 7, bytes_of("again"));
        return;  // and closes
      }
      mine.first(rank == 0 ? 2 : 4);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> of_0 = heard[0].first(2), of_2 = heard[2].first(4);
  of_0.resize(2);  // then the others may go too
  of_2.resize(4);
  EXPECT_EQ(of_0, (std::vector<std::string>{"1 6 ", "1 is gone"}));
  EXPECT_EQ(of_2, (std::vector<std::string>{"1 5 to one", "1 6 ", "1 7 again", "1 is gone"}));
}

std::string failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SideChannels, RanksThatDoNotComeAreNamedAtTheDeadline) {
  const int port = free_port();
  const std::string address = "127.0.0.1:" + std::to_string(port);
  EXPECT_EQ(failure_of([&] { connect_ranks(0, 4, "127.0.0.1", port, kShort); }),
            "of 4 ranks these did not come to " + address + " within 200 ms: 1, 2, 3");
  EXPECT_EQ(failure_of([&] { connect_ranks(2, 4, "127.0.0.1", port, kShort); }),
            "rank 2 did not find rank 0 at " + address + " within 200 ms");
}

TEST(SideChannels, AnAddressThatIsTakenOrUnknownIsAnError) {
  const int taken = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof address;
  bind(taken, reinterpret_cast<sockaddr*>(&address), size);
  listen(taken, 1);
  getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string failure = failure_of([&] { connect_ranks(0, 2, "127.0.0.1", ntohs(address.sin_port), kShort); });
  EXPECT_TRUE(failure.starts_with("rank 0 cannot listen at 127.0.0.1:")) << failure;
  close(taken);
  const std::string unknown = failure_of([&] { connect_ranks(1, 2, "no such host", 1, kShort); });
  EXPECT_TRUE(unknown.starts_with("the address no such host:1 cannot be found: ")) << unknown;
}

TEST(SideChannels, AStrangerAtTheAddressIsSentAway) {
  const int port = free_port();
  std::thread stranger([&] {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    int socket = -1;
    for (int turn = 0; turn < 1000; ++turn) {
      socket = ::socket(AF_INET, SOCK_STREAM, 0);
      if (connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) break;
      close(socket);
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_EQ(send(socket, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    char answer;
    EXPECT_LE(recv(socket, &answer, 1, 0), 0);  // closed
    close(socket);
    const std::vector<int> mine = connect_ranks(1, 2, "127.0.0.1", port, kLong);
    EXPECT_EQ(mine.size(), 1u);
    for (const int one : mine) close(one);
  });
  const std::vector<int> sockets = connect_ranks(0, 2, "127.0.0.1", port, kLong);
  stranger.join();
  EXPECT_GE(sockets.at(1), 0);
  close(sockets.at(1));
}

}  // namespace
}  // namespace ringproof

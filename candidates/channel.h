#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ringproof {

/// One line of the protocol, and the open files that came with it. Whoever takes it closes them.
struct Message {
  std::string line;
  std::vector<int> descriptors{};
};

/// One end of the socket between the command and a worker (candidates/protocol.md). Closes it when it goes.
class Channel {
 public:
  Channel() = default;
  explicit Channel(int descriptor);
  ~Channel();
  Channel(Channel&& other) noexcept;
  Channel& operator=(Channel&& other) noexcept;

  /// Asked about every 20 ms while the other end keeps us waiting; throws to give up.
  using Waiting = std::function<void()>;

  /// Sends `line` (without its end) and the files; false when the other end is gone. Throws what `waiting` throws.
  bool send(const std::string& line, std::span<const int> descriptors, const Waiting& waiting);

  /// Waits for a line; "" with no files means that the other end is gone. Throws what `waiting` throws, and Error for a
  /// line beyond kLineBytesMax.
  Message receive(const Waiting& waiting);

  int descriptor() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }

 private:
  bool read_more(std::vector<int>& descriptors);

  int descriptor_ = -1;
  std::string read_;  // what has come and is not taken yet
};

inline constexpr std::size_t kLineBytesMax = std::size_t{64} << 20;

/// Two joined ends, both closed in processes started by exec. Throws Error.
std::pair<Channel, Channel> make_channel();

}  // namespace ringproof

// A stream socket has no borders between messages, so a line's end is one. Files travel with the first byte of their
// line; as a line is answered before the next is sent, those that come while a line is read belong to it.

#include "candidates/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr int kWaitMs = 20;
constexpr std::size_t kFilesMax = 64;

// Whether something can be done now; else `waiting` has been asked.
bool is_ready(int descriptor, short what, const Channel::Waiting& waiting) {
  pollfd asked{descriptor, what, 0};
  const int ready = poll(&asked, 1, kWaitMs);
  if (ready > 0) return true;
  if (ready < 0 && errno != EINTR)
    throw Error(std::string("poll of a worker's socket failed: ") + std::strerror(errno));
  waiting();
  return false;
}

}  // namespace

Channel::Channel(int descriptor) : descriptor_(descriptor) {}

Channel::~Channel() {
  if (descriptor_ >= 0) close(descriptor_);
}

Channel::Channel(Channel&& other) noexcept { *this = std::move(other); }

Channel& Channel::operator=(Channel&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(read_, other.read_);
  return *this;
}

bool Channel::send(const std::string& line, std::span<const int> descriptors, const Waiting& waiting) {
  assert_that(line.find('\n') == std::string::npos, "a message is one line");
  assert_that(descriptors.size() <= kFilesMax, "a message carries few files");
  const std::string text = line + '\n';
  std::size_t sent = 0;
  while (sent < text.size()) {
    if (!is_ready(descriptor_, POLLOUT, waiting)) continue;
    iovec part{const_cast<char*>(text.data()) + sent, text.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(kFilesMax * sizeof(int))];
    if (sent == 0 && !descriptors.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
    }
    const ssize_t count = sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno != EINTR && errno != EAGAIN) {
      return false;
    }
  }
  return true;
}

// False at the end of what will ever come.
bool Channel::read_more(std::vector<int>& descriptors) {
  char bytes[65536];
  iovec part{bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(kFilesMax * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t count = recvmsg(descriptor_, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t files = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int), before = descriptors.size();
    descriptors.resize(before + files);
    std::memcpy(descriptors.data() + before, CMSG_DATA(head), files * sizeof(int));
  }
  read_.append(bytes, static_cast<std::size_t>(count));
  return count > 0;
}

Message Channel::receive(const Waiting& waiting) {
  Message message;
  std::size_t searched = 0;
  for (;;) {
    const std::size_t end = read_.find('\n', searched);
    if (end != std::string::npos) {
      message.line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return message;
    }
    searched = read_.size();
    if (searched > kLineBytesMax) throw Error("a message of the other end is longer than 64 MiB");
    if (is_ready(descriptor_, POLLIN, waiting) && !read_more(message.descriptors)) return message;
  }
}

std::pair<Channel, Channel> make_channel() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw Error(std::string("socketpair failed: ") + std::strerror(errno));
  }
  return {Channel(ends[0]), Channel(ends[1])};
}

}  // namespace ringproof

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ringproof {

/// Memory of its own pages: it stays at its address, costs nothing where nobody touches it, and some of its pages can
/// be watched. All bytes are 0 at first.
class Mapping {
 public:
  Mapping() = default;
  /// Throws Error when this machine does not map that many bytes (of addresses, not of memory).
  explicit Mapping(std::size_t bytes) : Mapping(bytes, false) {}
  /// The same in a file without a name, which another process can map too. Throws Error likewise.
  static Mapping shared(std::size_t bytes) { return Mapping(bytes, true); }
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  /// The file of a shared one, else -1. Open as long as this lives.
  int descriptor() const { return descriptor_; }
  /// Another number for every shared one of this process; else 0.
  std::uint64_t id() const { return id_; }
  /// Bytes in front of the watched tail: all of them where nothing is watched.
  std::size_t bytes_open() const;

  /// From now on the first touch of the last `bytes` (whole pages) is noted, by whichever thread; it does not end the
  /// process: the pages open, with what they hold, and the thread goes on. Throws Error when too many are watched.
  void watch_tail(std::size_t bytes);

  /// Opens what was watched; nothing is watched any more.
  void unwatch();

  /// Bytes between the begin of the watched tail and its first touch; negative while nobody touched it.
  std::ptrdiff_t touched_at() const;

 private:
  Mapping(std::size_t bytes, bool is_shared);

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  int descriptor_ = -1;
  std::uint64_t id_ = 0;
  int watched_ = -1;  // its place in the table the signal handler reads
};

/// Bytes of a page.
std::size_t page_bytes();

/// While one lives, a crash (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) of any thread writes its sentence to stderr and
/// ends the process with exit code 3: what a candidate did cannot be undone inside the process that called it. Where
/// several live, each is written, as any of them may have crashed.
class CrashSentence {
 public:
  explicit CrashSentence(std::string sentence);
  ~CrashSentence();
  CrashSentence(const CrashSentence&) = delete;
  CrashSentence& operator=(const CrashSentence&) = delete;

 private:
  std::string sentence_;
  std::size_t place_;
};

}  // namespace ringproof

// A read beyond the last element is a fault that no comparison of bytes can show, so the page behind the element is
// closed. Candidates run on threads and fibers of their own, from which nothing can be unwound: the handler of the
// fault opens the page, notes the address and returns, and the instruction runs again. Whoever asks afterwards learns
// of it. Handlers only read a table of plain atomics and call what may be called there.

#include "reference/judge/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct WatchedRange {
  std::atomic<bool> is_taken{false};
  std::atomic<std::uintptr_t> begin{0}, end{0};
  std::atomic<std::uintptr_t> touched{0};
};

constexpr int kWatchedMax = 16384;  // five tensors on each of 1,024 ranks, thrice
std::array<WatchedRange, kWatchedMax> watched;

constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
std::array<struct sigaction, kSignals.size()> former;

std::array<std::atomic<const std::string*>, 64> sentences;

// Whether the address lies in a watched range, which is open now.
bool open_watched(std::uintptr_t address) {
  for (WatchedRange& range : watched) {
    const std::uintptr_t begin = range.begin.load(), end = range.end.load();
    if (address < begin || address >= end) continue;
    std::uintptr_t none = 0;
    range.touched.compare_exchange_strong(none, address);
    return mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) == 0;
  }
  return false;
}

void handle(int signal, siginfo_t* info, void*) {
  if (signal == SIGSEGV && open_watched(reinterpret_cast<std::uintptr_t>(info->si_addr))) return;
  bool is_said = false;
  for (const auto& place : sentences) {
    const std::string* const sentence = place.load();
    if (sentence == nullptr) continue;
    is_said = write(STDERR_FILENO, sentence->data(), sentence->size()) >= 0 || is_said;
  }
  if (is_said) _exit(3);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == signal) sigaction(signal, &former[i], nullptr);
  }
  // A fault comes again with its instruction; what was sent does not.
  if (signal == SIGABRT || info->si_code <= 0) raise(signal);
}

void install_handlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &former[i]);
  });
}

int take_range() {
  for (int i = 0; i < kWatchedMax; ++i) {
    bool is_taken = false;
    if (watched[static_cast<std::size_t>(i)].is_taken.compare_exchange_strong(is_taken, true)) return i;
  }
  throw Error("more than " + std::to_string(kWatchedMax) + " tensors end at a watched page; run fewer candidates");
}

}  // namespace

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

Mapping::Mapping(std::size_t bytes, bool is_shared) : bytes_((bytes + page_bytes() - 1) / page_bytes() * page_bytes()) {
  const auto require = [&](bool condition, const char* call) {
    if (condition) return;
    const std::string why = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw Error(std::string(call) + " of " + std::to_string(bytes_ >> 20) + " MiB of addresses failed: " + why);
  };
  if (is_shared) {
    static std::atomic<std::uint64_t> last{0};
    id_ = ++last;
    descriptor_ = memfd_create("ringproof tensor", MFD_CLOEXEC);
    require(descriptor_ >= 0, "memfd_create");
    require(ftruncate(descriptor_, static_cast<off_t>(bytes_)) == 0, "ftruncate");
  }
  const int flags = is_shared ? MAP_SHARED | MAP_NORESERVE : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, descriptor_, 0);
  require(data != MAP_FAILED, "mmap");
  // A large page for every touched one would cost the memory that a sparse mapping is there to save.
  madvise(data, bytes_, MADV_NOHUGEPAGE);
  data_ = static_cast<std::byte*>(data);
}

Mapping::~Mapping() {
  unwatch();
  if (data_ != nullptr) munmap(data_, bytes_);
  if (descriptor_ >= 0) close(descriptor_);
}

Mapping::Mapping(Mapping&& other) noexcept { *this = std::move(other); }

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(watched_, other.watched_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(id_, other.id_);
  return *this;
}

void Mapping::watch_tail(std::size_t bytes) {
  assert_that(bytes <= bytes_ && bytes % page_bytes() == 0, "what is watched is whole pages of the mapping");
  install_handlers();
  unwatch();
  watched_ = take_range();
  WatchedRange& range = watched[static_cast<std::size_t>(watched_)];
  const auto end = reinterpret_cast<std::uintptr_t>(data_ + bytes_);
  range.touched = 0;
  range.begin = end - bytes;
  range.end = end;
  if (mprotect(data_ + bytes_ - bytes, bytes, PROT_NONE) != 0) {
    throw Error(std::string("mprotect of a page failed: ") + std::strerror(errno));
  }
}

void Mapping::unwatch() {
  if (watched_ < 0) return;
  WatchedRange& range = watched[static_cast<std::size_t>(watched_)];
  const std::uintptr_t begin = range.begin, end = range.end;
  range.begin = range.end = 0;
  range.is_taken = false;
  watched_ = -1;
  mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE);
}

std::size_t Mapping::bytes_open() const {
  if (watched_ < 0) return bytes_;
  return watched[static_cast<std::size_t>(watched_)].begin - reinterpret_cast<std::uintptr_t>(data_);
}

std::ptrdiff_t Mapping::touched_at() const {
  if (watched_ < 0) return -1;
  const WatchedRange& range = watched[static_cast<std::size_t>(watched_)];
  const std::uintptr_t touched = range.touched;
  return touched == 0 ? -1 : static_cast<std::ptrdiff_t>(touched - range.begin);
}

CrashSentence::CrashSentence(std::string sentence) : sentence_(std::move(sentence)), place_(0) {
  install_handlers();
  for (; place_ < sentences.size(); ++place_) {
    const std::string* none = nullptr;
    if (sentences[place_].compare_exchange_strong(none, &sentence_)) return;
  }
}

CrashSentence::~CrashSentence() {
  if (place_ < sentences.size()) sentences[place_] = nullptr;
}

}  // namespace ringproof

// The handler of a fault reads a table of plain atomics and calls what may be called there. A kernel's threads fault
// wherever they run, on stacks of any size, so the handler needs little of theirs.

#include "candidates/mapped_regions.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct Region {
  std::atomic<std::uintptr_t> begin{0}, open_end{0}, end{0};  // begin 0: free
  std::atomic<std::uint64_t> id{0};
  std::atomic<std::uintptr_t> touched{0};
};

constexpr int kRegionsMax = 64;
std::array<Region, kRegionsMax> regions;
std::atomic<int> last_word_socket{-1};

// Appends without any library function: a handler may interrupt all of them.
struct Line {
  char text[160];
  std::size_t size = 0;
  void add(const char* words) {
    while (*words != '\0' && size < sizeof text) text[size++] = *words++;
  }
  void add(std::uint64_t number) {
    char digits[20];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0 && size < sizeof text) text[size++] = digits[--count];
  }
};

void say_crash(int signal, const Region* region, std::uintptr_t address) {
  Line line;
  line.add("{\"crash\": \"");
  line.add(signal == SIGSEGV ? "SIGSEGV" : "SIGBUS");
  line.add("\"");
  if (region != nullptr) {
    line.add(", \"region\": ");
    line.add(region->id.load());
    line.add(", \"offset\": ");
    line.add(address - region->begin.load());
  }
  line.add("}\n");
  [[maybe_unused]] const auto sent = send(last_word_socket.load(), line.text, line.size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void handle(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const Region* at = nullptr;
  for (Region& region : regions) {
    const std::uintptr_t begin = region.begin.load(), open_end = region.open_end.load(), end = region.end.load();
    if (begin == 0 || address < begin || address >= end) continue;
    at = &region;
    std::uintptr_t none = 0;
    const bool is_first = region.touched.load() == 0;
    if (address < open_end || !is_first) break;
    region.touched.compare_exchange_strong(none, address);
    // What is read there is a NaN pattern; a write to memory of the command's that is read-only here faults once more.
    if (mprotect(reinterpret_cast<void*>(open_end), end - open_end, PROT_READ | PROT_WRITE) == 0 ||
        mprotect(reinterpret_cast<void*>(open_end), end - open_end, PROT_READ) == 0) {
      return;
    }
  }
  say_crash(signal, at, address);
  std::signal(signal, SIG_DFL);
  if (info->si_code <= 0) raise(signal);  // what was sent does not come again with its instruction
}

void forget(Region& region) {
  const std::uintptr_t begin = region.begin, end = region.end;
  region.begin = 0;
  if (begin != 0) munmap(reinterpret_cast<void*>(begin), end - begin);
}

Region& free_region() {
  for (Region& region : regions) {
    if (region.begin == 0) return region;
  }
  throw Error("a call has more than " + std::to_string(kRegionsMax) + " regions");
}

void map(const SentRegion& sent, int descriptor) {
  Region& region = free_region();
  const int rights = PROT_READ | (sent.is_writable ? PROT_WRITE : 0);
  void* const data = mmap(nullptr, sent.bytes, rights, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  const int failure = errno;
  close(descriptor);
  if (data == MAP_FAILED) {
    throw Error("mmap of " + std::to_string(sent.bytes >> 20) + " MiB of addresses failed: " + std::strerror(failure));
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  if (sent.bytes_open < sent.bytes) {
    mprotect(reinterpret_cast<void*>(begin + sent.bytes_open), sent.bytes - sent.bytes_open, PROT_NONE);
  }
  region.id = sent.id;
  region.touched = 0;
  region.open_end = begin + sent.bytes_open;
  region.end = begin + sent.bytes;
  region.begin = begin;
}

}  // namespace

MappedRegions::MappedRegions(int socket) {
  last_word_socket = socket;
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  // An endless recursion leaves no stack to tell of it on.
  static std::array<char, 65536> memory;
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
}

MappedRegions::~MappedRegions() {
  for (Region& region : regions) forget(region);
  std::signal(SIGSEGV, SIG_DFL);
  std::signal(SIGBUS, SIG_DFL);
}

void MappedRegions::update(const CallQuestion& question, const std::vector<int>& descriptors) {
  for (const std::uint64_t id : question.unmap) {
    for (Region& region : regions) {
      if (region.begin != 0 && region.id == id) forget(region);
    }
  }
  if (descriptors.size() != question.map.size()) throw Error("a call came with another count of files than regions");
  for (std::size_t i = 0; i < descriptors.size(); ++i) map(question.map[i], descriptors[i]);
}

rp_tensor MappedRegions::place(const SentTensor& sent) const {
  rp_tensor tensor = sent.tensor;
  for (const Region& region : regions) {
    if (region.begin == 0 || region.id != sent.region) continue;
    tensor.data = reinterpret_cast<void*>(region.begin + static_cast<std::uintptr_t>(sent.offset));
    return tensor;
  }
  throw Error("a tensor lies in region " + std::to_string(sent.region) + ", which was never mapped");
}

std::int64_t MappedRegions::bytes_open(std::uint64_t id) const {
  for (const Region& region : regions) {
    if (region.begin != 0 && region.id == id) return static_cast<std::int64_t>(region.open_end - region.begin);
  }
  throw Error("region " + std::to_string(id) + " was never mapped");
}

std::vector<Touch> MappedRegions::take_touched() {
  std::vector<Touch> touched;
  for (Region& region : regions) {
    const std::uintptr_t begin = region.begin, at = region.touched.exchange(0);
    if (begin == 0 || at == 0) continue;
    touched.push_back({region.id, static_cast<std::int64_t>(at - begin)});
    mprotect(reinterpret_cast<void*>(region.open_end.load()), region.end - region.open_end, PROT_NONE);
  }
  return touched;
}

}  // namespace ringproof

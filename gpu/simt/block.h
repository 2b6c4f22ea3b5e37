#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "gpu/simt/async_copies.h"
#include "gpu/simt/fiber.h"
#include "gpu/simt/observer.h"
#include "gpu/simt/runtime.h"
#include "gpu/simt/shared_memory.h"

/// One block of CUDA threads: who runs, who waits for what, and the memory they share.
namespace ringproof::simt::host {

/// The numbers of the threads that could run now; at most 1024.
class ReadySet {
 public:
  void clear() { words_ = {}; }
  void insert(int thread) { words_[word_of(thread)] |= std::uint64_t{1} << (thread % 64); }
  void insert_lanes(int warp, std::uint32_t lanes) {
    words_[static_cast<std::size_t>(warp / 2)] |= std::uint64_t{lanes} << (warp % 2 * 32);
  }
  /// Each removes and returns one number, or returns -1 when the set is empty.
  int take_lowest() { return take_at_or_after(0); }
  int take_highest();
  int take_at_or_after(int thread);  ///< the next one upwards, else -1

 private:
  static std::size_t word_of(int thread) { return static_cast<std::size_t>(thread / 64); }
  std::array<std::uint64_t, 16> words_{};
};

/// Runs blocks one after another on the OS thread that calls run(). Stacks and shared memory are kept between blocks
/// and launches.
class Block {
 public:
  /// Takes over shape, kernel and options. To be called on the OS thread that will call run().
  void prepare(const Launch& launch);

  /// Runs all threads of one block to their end, or until the first report.
  std::optional<Report> run(uint3 block_index, std::uint64_t block_number, std::uint64_t seed);

  /// What the functions of the same names in runtime.h do, for the running thread.
  void barrier(const Site& site);
  std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source,
                               const Site& site);
  void warp_collective(WarpOperation operation, void (*run)(void* const* lanes), void* lane_data, const Site& site);
  void named_barrier(int id, int thread_count, bool waits, const Site& site);
  void prepare_matrix_row(const void* row, int row_count, const Site& site);
  void note_access(const void* address, std::size_t bytes, Access access, const Site& site);
  void require_aligned(const void* address, std::size_t alignment, const char* what, const Site& site);
  void start_async_copy(const AsyncCopy& copy);
  void commit_async_copies(const Site& site);
  void wait_for_async_copies(int groups_left, const Site& site);
  unsigned char* shared_memory() const { return shared_memory_.data(); }
  const LaunchOptions& options() const { return launch_.options; }
  int lane() const { return running_->lane; }
  int thread_number() const { return running_->number; }
  std::span<const std::byte> running_stack() const {
    return {static_cast<const std::byte*>(running_->context.stack_bottom), running_->context.stack_bytes};
  }

 private:
  enum class State { kReady, kAtBarrier, kAtNamedBarrier, kInWarpOperation, kDone };

  /// What every switch and warp operation touches lies in the first two cache lines.
  struct alignas(64) Thread {
    Context context;
    State state = State::kReady;
    uint3 index{};
    int number = 0, warp = 0, lane = 0, source = 0;
    Site site;  ///< where it waits
    std::uint64_t value = 0, result = 0;
    void* lane_data = nullptr;
    AsyncCopies copies;
  };
  /// A warp operation for which some lanes have arrived. Others of the warp may be pending, with lanes in common: a
  /// lane may first meet some of those who wait for it elsewhere.
  struct Pending {
    std::uint32_t mask, arrived;
    WarpOperation operation;
  };
  struct Warp {
    std::uint32_t existing = 0, alive = 0;
    int pending_count = 0;
    std::array<Pending, 32> pending{};
  };
  /// One round of a named barrier.
  struct NamedBarrier {
    int thread_count = 0, arrived_count = 0;
    std::bitset<1024> arrived;
    std::vector<int> waiting;
    Site first;
  };

  static void enter();
  [[noreturn]] void finish_thread();
  /// Records the report and ends the block by an exception that enter() catches.
  [[noreturn]] void fail(ReportKind kind, const std::string& text);
  void report_exception(const std::string& what);
  [[noreturn]] void fail_deadlocked();
  void make_ready(Thread& thread);
  Thread& take_next();
  void wait_for_turn();
  void show(const Thread& thread) const;
  void release_barrier();
  bool is_ignored(const Site& site) const {
    return launch_.options.ignored_sync.line == site.line && same_place(launch_.options.ignored_sync, site);
  }
  void require_no_barrier_half_full();
  void require_nothing_beside_shared();
  void require_shared(const void* address, std::size_t bytes, std::size_t alignment, const char* what,
                      const Site& site);
  void require_possible_barrier(int id, int thread_count, const Site& site);
  void wait_unless_last_may_go_on();
  Pending& join(Warp& warp, WarpOperation operation, std::uint32_t mask, const Site& site);
  void complete(Warp& warp, Pending& pending);
  std::string place() const;
  std::string describe(const Warp& warp, const Pending& pending) const;

  Launch launch_;
  std::vector<FiberStack> stacks_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::array<NamedBarrier, 16> named_barriers_;
  SharedMemory shared_memory_;

  uint3 block_index_{};
  std::mt19937_64 random_;
  ReadySet ready_;
  Context worker_;
  Thread* running_ = nullptr;
  int alive_ = 0, at_barrier_ = 0;
  std::optional<Report> report_;
};

}  // namespace ringproof::simt::host

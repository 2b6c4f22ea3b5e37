#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gpu/racecheck/copies.h"
#include "gpu/racecheck/ordering.h"
#include "gpu/racecheck/places.h"
#include "gpu/racecheck/shadow.h"
#include "gpu/simt/observer.h"

namespace ringproof::racecheck {

enum class SyncKind { kSyncthreads, kSyncwarp, kNamedBarrier, kCopyCommit, kCopyWait };

const char* to_string(SyncKind kind);

/// A line of a kernel that synchronises. Same lines of same files are one, whatever template they stand in.
struct SyncLine {
  SyncKind kind;
  simt::host::Site site;
};

/// A pair of lines that race, found first with these threads at this address.
struct Finding {
  Race race;
  std::string where;                                 ///< "shared memory + 512", "out + 16"
  std::uint64_t block_earlier = 0, block_later = 0;  ///< as in BlockFacts
};

/// Follows launches on one OS thread: the memory that instrumented kernels touch, and what orders it. For every pair of
/// lines it keeps one finding.
class Watcher : public simt::host::Observer {
 public:
  explicit Watcher(Places& places);
  ~Watcher() override;
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  /// From now on the synchronisation at this place orders nothing, while threads wait at it as before.
  void ignore(const simt::host::Site& site) { ignored_ = site; }
  /// Look at nothing any more once there is a finding.
  void stop_at_first() { stops_at_first_ = true; }
  /// What a finding calls this memory.
  void name_memory(const void* begin, std::size_t bytes, std::string name);

  const std::vector<Finding>& findings() const { return findings_; }
  /// The synchronisations that were executed, in the order of their first execution.
  const std::vector<SyncLine>& sync_lines() const { return sync_lines_; }
  std::uint64_t accesses() const { return accesses_; }

  /// False for what is certainly none of its business: the running thread's own stack, which is a thread's own as
  /// registers and local memory are on a GPU.
  bool is_interested(int thread, const void* address) const {
    return !stopped_ &&
           (thread != running_ || reinterpret_cast<std::uintptr_t>(address) - stack_begin_ >= stack_bytes_);
  }
  /// The running thread, of this number, touches memory: called by the instrumentation.
  void touched(int thread, const void* address, std::size_t bytes, Touch touch, Place place);

  void block_started(const simt::host::BlockFacts& facts) override;
  void block_ended() override;
  void barrier_released(const simt::host::Site& site) override;
  void warp_synced(int warp, std::uint32_t mask, const simt::host::Site& site) override;
  void warp_exchanged(int warp, std::uint32_t mask, const simt::host::Site& site) override;
  void named_barrier_reached(int thread, int id, bool waits, const simt::host::Site& site) override;
  void named_barrier_released(int id, std::span<const int> waiting) override;
  void accessed(int thread, const void* address, std::size_t bytes, simt::host::Access access,
                const simt::host::Site& site) override;
  void copy_started(int thread, const simt::host::AsyncCopy& copy) override;
  void copies_committed(int thread, const simt::host::Site& site) override;
  void copies_waited(int thread, int groups_left, const simt::host::Site& site) override;

 private:
  struct Named {
    const unsigned char* begin;
    std::size_t bytes;
    std::string name;
  };
  /// A row of an ldmatrix: every lane gets a part of it when all have come.
  struct RowRead {
    const void* address;
    std::size_t bytes;
    Place place;
  };

  /// A thread that has come to a named barrier.
  struct Arrival {
    int thread;
    std::uint32_t time;
    Place place;
  };
  /// Who came in the round that is open, and in the one before.
  struct Rounds {
    std::vector<Arrival> open, last;
  };
  static constexpr std::size_t kNamedBarriers = 16;

  bool orders(SyncKind kind, const simt::host::Site& site);
  bool is_beside_shared(const void* address, std::size_t bytes) const;
  void record(const void* address, std::size_t bytes, const Access& access);
  void keep_findings();
  std::string where(const Race& race) const;

  Places& places_;
  Ordering ordering_;
  Copies copies_;
  Shadow shadow_{ordering_, copies_};
  std::vector<std::uint64_t> block_numbers_{0};  // by serial number
  const unsigned char* shared_ = nullptr;
  std::size_t shared_bytes_ = 0, guard_bytes_ = 0;
  std::vector<std::vector<RowRead>> row_reads_;  // per warp
  std::array<Rounds, kNamedBarriers> rounds_;
  std::set<std::pair<int, int>> passed_over_;  // named barrier and thread whose wait is ignored
  int running_ = -1;                           // whose stack the next two tell
  std::uintptr_t stack_begin_ = 0;
  std::size_t stack_bytes_ = 0;
  std::vector<Named> named_;
  std::vector<SyncLine> sync_lines_;
  simt::host::Site ignored_;
  bool stops_at_first_ = false, stopped_ = false;
  std::uint64_t accesses_ = 0;
  std::vector<int> threads_;
  std::vector<Race> races_;
  std::set<std::tuple<Fault, Place, Place>> seen_;
  std::vector<Finding> findings_;
};

/// "flash.cuh:9: thread 0 of block 2 reads shared memory + 512, which thread 33 has written at flash.cuh:7, and no
/// synchronisation lies between"
std::string to_string(const Finding& finding, Places& places);

}  // namespace ringproof::racecheck

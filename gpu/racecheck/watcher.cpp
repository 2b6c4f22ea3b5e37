// What CUDA promises, event by event. Shuffles, votes, mma and atomics order no memory access: only __syncthreads,
// __syncwarp and named barriers do, and within the threads that come to them. The runtime runs threads in an order of
// its own; what is judged is what the promises leave open, not what happened.

#include "gpu/racecheck/watcher.h"

#include <bit>
#include <numeric>
#include <utility>

namespace ringproof::racecheck {
namespace {

using simt::host::Site;

constexpr int kLanesPerWarp = 32;

}  // namespace

const char* to_string(SyncKind kind) {
  switch (kind) {
    case SyncKind::kSyncthreads: return "__syncthreads";
    case SyncKind::kSyncwarp: return "__syncwarp";
    case SyncKind::kNamedBarrier: return "named barrier";
    case SyncKind::kCopyCommit: return "cp_async_commit";
    case SyncKind::kCopyWait: return "cp_async_wait";
  }
  return "?";
}

Watcher::Watcher(Places& places) : places_(places) {}
Watcher::~Watcher() = default;

void Watcher::name_memory(const void* begin, std::size_t bytes, std::string name) {
  named_.push_back({static_cast<const unsigned char*>(begin), bytes, std::move(name)});
}

bool Watcher::orders(SyncKind kind, const Site& site) {
  bool is_known = false;
  for (const SyncLine& line : sync_lines_) is_known = is_known || same_place(line.site, site);
  if (!is_known) sync_lines_.push_back({kind, site});
  return ignored_.file == nullptr || !same_place(ignored_, site);
}

void Watcher::block_started(const simt::host::BlockFacts& facts) {
  // One OS thread in forward order begins every launch with block 0.
  if (facts.number == 0) shadow_.start_launch();
  shadow_.start_block(facts.shared, facts.shared_bytes);
  block_numbers_.push_back(facts.number);
  shared_ = facts.shared;
  shared_bytes_ = facts.shared_bytes;
  guard_bytes_ = facts.guard_bytes;
  rounds_ = {};
  ordering_.start(facts.thread_count);
  copies_.start(facts.thread_count);
  row_reads_.assign(static_cast<std::size_t>((facts.thread_count + kLanesPerWarp - 1) / kLanesPerWarp), {});
  threads_.resize(static_cast<std::size_t>(facts.thread_count));
  std::iota(threads_.begin(), threads_.end(), 0);
  running_ = -1;
}

void Watcher::block_ended() { shadow_.end_block(); }

void Watcher::touched(int thread, const void* address, std::size_t bytes, Touch touch, Place place) {
  if (thread != running_) {
    running_ = thread;
    const std::span<const std::byte> stack = simt::host::running_stack();
    stack_begin_ = reinterpret_cast<std::uintptr_t>(stack.data());
    stack_bytes_ = stack.size();
    if (!is_interested(thread, address)) return;
  }
  record(address, bytes,
         {shadow_.block(), ordering_.time(thread), place, static_cast<std::uint16_t>(thread), false, touch});
}

void Watcher::record(const void* address, std::size_t bytes, const Access& access) {
  if (stopped_) return;
  ++accesses_;
  if (is_beside_shared(address, bytes)) {
    races_.push_back({Fault::kBesideShared, {}, access, static_cast<const unsigned char*>(address)});
    keep_findings();
    return;
  }
  shadow_.touch(static_cast<const unsigned char*>(address), bytes, access, races_);
  if (!races_.empty()) keep_findings();
}

bool Watcher::is_beside_shared(const void* address, std::size_t bytes) const {
  const auto* const at = static_cast<const unsigned char*>(address);
  const unsigned char *const end = at + bytes, *const shared_end = shared_ + shared_bytes_;
  return at < shared_end + guard_bytes_ && end > shared_ - guard_bytes_ && (at < shared_ || end > shared_end);
}

void Watcher::keep_findings() {
  for (const Race& race : races_) {
    if (!seen_.insert({race.fault, race.earlier.place, race.later.place}).second) continue;
    findings_.push_back({race, where(race), block_numbers_[race.earlier.block], block_numbers_[race.later.block]});
    stopped_ = stops_at_first_;
  }
  races_.clear();
}

std::string Watcher::where(const Race& race) const {
  const auto within = [&](const unsigned char* begin, std::size_t bytes) {
    return race.address >= begin && race.address < begin + bytes;
  };
  if (within(shared_ - guard_bytes_, shared_bytes_ + 2 * guard_bytes_))
    return "shared memory + " + std::to_string(race.address - shared_);
  for (const Named& named : named_) {
    if (within(named.begin, named.bytes)) return named.name + " + " + std::to_string(race.address - named.begin);
  }
  return "global memory";
}

void Watcher::barrier_released(const Site& site) {
  if (orders(SyncKind::kSyncthreads, site)) ordering_.synchronise(threads_);
}

void Watcher::warp_synced(int warp, std::uint32_t mask, const Site& site) {
  if (!orders(SyncKind::kSyncwarp, site)) return;
  std::array<int, kLanesPerWarp> lanes{};
  std::size_t count = 0;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    lanes[count++] = warp * kLanesPerWarp + std::countr_zero(rest);
  }
  ordering_.synchronise(std::span(lanes.data(), count));
}

// Each lane of an ldmatrix gets parts of rows whose addresses others gave: what they point to must be ordered for all.
void Watcher::warp_exchanged(int warp, std::uint32_t mask, const Site&) {
  std::vector<RowRead>& rows = row_reads_[static_cast<std::size_t>(warp)];
  for (const RowRead& row : rows) {
    for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const int thread = warp * kLanesPerWarp + std::countr_zero(rest);
      record(row.address, row.bytes,
             {shadow_.block(), ordering_.time(thread), row.place, static_cast<std::uint16_t>(thread), false,
              Touch::kRead});
    }
  }
  rows.clear();
}

void Watcher::named_barrier_reached(int thread, int id, bool waits, const Site& site) {
  const bool counts = orders(SyncKind::kNamedBarrier, site);
  Rounds& rounds = rounds_[static_cast<std::size_t>(id)];
  const Arrival arrival{thread, ordering_.time(thread), places_.of(site)};
  const auto access_of = [&](const Arrival& a) {
    return Access{shadow_.block(), a.time, a.place, static_cast<std::uint16_t>(a.thread), false, Touch::kRead};
  };
  // Nothing keeps this thread from coming before one who was in the last round, in whose place it would have been then.
  for (const Arrival& last : rounds.last) {
    if (stopped_ || ordering_.knows(thread, last.thread, last.time)) continue;
    races_.push_back({Fault::kBarrierRound, access_of(last), access_of(arrival), nullptr});
    keep_findings();
    break;
  }
  rounds.open.push_back(arrival);
  if (counts) ordering_.arrive(id, thread);
  if (waits && !counts) passed_over_.insert({id, thread});
}

void Watcher::named_barrier_released(int id, std::span<const int> waiting) {
  for (const int thread : waiting) {
    if (passed_over_.erase({id, thread}) == 0) ordering_.pass(id, thread);
  }
  ordering_.reset(id);
  Rounds& rounds = rounds_[static_cast<std::size_t>(id)];
  rounds.last = std::exchange(rounds.open, {});
}

void Watcher::accessed(int thread, const void* address, std::size_t bytes, simt::host::Access access,
                       const Site& site) {
  const Place place = places_.of(site);
  switch (access) {
    case simt::host::Access::kRead:
      row_reads_[static_cast<std::size_t>(thread / kLanesPerWarp)].push_back({address, bytes, place});
      return;
    case simt::host::Access::kWrite:
    case simt::host::Access::kAtomic:
      record(address, bytes,
             {shadow_.block(), ordering_.time(thread), place, static_cast<std::uint16_t>(thread), false,
              access == simt::host::Access::kWrite ? Touch::kWrite : Touch::kAtomic});
      return;
  }
}

void Watcher::copy_started(int thread, const simt::host::AsyncCopy& copy) {
  Access access{
      shadow_.block(), copies_.open_group(thread), places_.of(copy.site), static_cast<std::uint16_t>(thread), true,
      Touch::kRead};
  if (copy.global != nullptr) record(copy.global, copy.bytes, access);
  access.touch = Touch::kWrite;
  record(copy.shared, copy.bytes, access);
}

void Watcher::copies_committed(int thread, const Site& site) {
  if (orders(SyncKind::kCopyCommit, site)) copies_.commit(thread);
}

void Watcher::copies_waited(int thread, int groups_left, const Site& site) {
  if (orders(SyncKind::kCopyWait, site)) copies_.wait(thread, groups_left, ordering_.time(thread));
}

std::string to_string(const Finding& finding, Places& places) {
  const Race& race = finding.race;
  const auto verb = [](const Access& access, const char* reads, const char* writes, const char* updates) {
    return std::string(access.touch == Touch::kRead ? reads : access.touch == Touch::kWrite ? writes : updates);
  };
  const auto thread_of = [](const Access& access) { return "thread " + std::to_string(access.thread); };
  if (race.fault == Fault::kBarrierRound) {
    return to_string(places.where(race.later.place)) + ": " + thread_of(race.later) + " of block " +
           std::to_string(finding.block_later) + " comes to a named barrier, and nothing orders it after " +
           thread_of(race.earlier) + ", which came to the round before at " +
           to_string(places.where(race.earlier.place)) + ": it could have come in its place";
  }
  const std::string copy = race.later.is_copy ? "the cp.async of " : "";
  std::string text = to_string(places.where(race.later.place)) + ": " + copy + thread_of(race.later) + " of block " +
                     std::to_string(finding.block_later) + " " +
                     verb(race.later, "reads ", "writes ", "atomically updates ") + finding.where + ", which ";
  if (race.fault == Fault::kUninitialised) return text + "this block has not written so far";
  if (race.fault == Fault::kBesideShared) return text + "lies beside the shared memory of the block";
  const std::string line = " at " + to_string(places.where(race.earlier.place));
  if (race.fault == Fault::kCopyUnderWay) {
    return text + "the cp.async that " + thread_of(race.earlier) + " has started" + line + " may still " +
           verb(race.earlier, "read", "write", "update");
  }
  text += (race.earlier.is_copy ? "a cp.async of " : "") + thread_of(race.earlier);
  if (race.fault == Fault::kBlocks) text += " of block " + std::to_string(finding.block_earlier);
  text += " " + verb(race.earlier, "has read", "has written", "has atomically updated") + line;
  return text + (race.fault == Fault::kBlocks ? ", and nothing orders the blocks of a launch"
                                              : ", and no synchronisation lies between");
}

}  // namespace ringproof::racecheck

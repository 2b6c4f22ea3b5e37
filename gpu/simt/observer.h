#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/simt/site.h"

/// What a launch tells somebody who watches how its threads are ordered (LaunchOptions::observer): the material from
/// which a race checker builds its clocks. Plain loads and stores are not told; a kernel compiled with
/// -fsanitize=thread tells those itself.
namespace ringproof::simt::host {

/// The block whose calls follow.
struct BlockFacts {
  std::uint64_t number;  ///< x + gridDim.x (y + gridDim.y z)
  int thread_count;
  const unsigned char* shared;  ///< the block's shared memory, all poison when the block starts
  std::size_t shared_bytes;
  std::size_t guard_bytes;  ///< so many bytes before it and behind it belong to nobody
};

enum class Access { kRead, kWrite, kAtomic };

/// One cp.async of one thread.
struct AsyncCopy {
  unsigned char* shared;
  const unsigned char* global;  ///< null: zeros are written and nothing is read
  std::size_t bytes;
  Site site;
};

/// Overrides what it wants to know. All calls about a block come from the OS thread that runs it, between its
/// block_started and its block_ended (which comes also when the block was stopped by a report); blocks on different OS
/// threads call at the same time, so an observer has locks, thread_local state, or a launch with thread_count = 1.
/// Threads are numbered 0.. within the block, lanes are thread % 32, warps thread / 32; thread_number() in runtime.h
/// tells the running one at any time. No call may throw, launch, or wait for another CUDA thread.
///
/// A synchronisation that LaunchOptions::ignored_sync names does not happen and is not told.
struct Observer {
  virtual ~Observer() = default;

  virtual void block_started(const BlockFacts&) {}
  virtual void block_ended() {}

  /// __syncthreads: every thread of the block has come; what each did before is before what each does after.
  virtual void barrier_released(const Site&) {}

  /// __syncwarp: the lanes of `mask` (those that exist) have come; orders them as a barrier does.
  virtual void warp_synced(int /*warp*/, std::uint32_t /*mask*/, const Site&) {}

  /// A shuffle, vote, mma or ldmatrix of these lanes is complete. It orders no memory access.
  virtual void warp_exchanged(int /*warp*/, std::uint32_t /*mask*/, const Site&) {}

  /// `thread` comes to named barrier `id`. What it did before is before what the threads released by this round of the
  /// barrier do after; with `waits` it will be among them, else (barrier_arrive) it goes on unordered.
  virtual void named_barrier_reached(int /*thread*/, int /*id*/, bool /*waits*/, const Site&) {}
  /// The round is complete, after its last named_barrier_reached: `waiting` go on. The next round begins.
  virtual void named_barrier_released(int /*id*/, std::span<const int> /*waiting*/) {}

  /// A runtime function touches memory for `thread`: ldmatrix reads its row (before the exchange is told), an atomic
  /// reads and writes. Atomics on one address are not ordered by it and do not race with each other.
  virtual void accessed(int /*thread*/, const void*, std::size_t /*bytes*/, Access, const Site&) {}

  /// cp.async: from `copy_started` to `copy_landed` the source may be read and the destination written at any time,
  /// on behalf of `thread`. Landed copies are visible to `thread` as its own writes are, to others once ordered. Copies
  /// land inside the wait that retires their group; copies of a stopped block never land.
  virtual void copy_started(int /*thread*/, const AsyncCopy&) {}
  virtual void copies_committed(int /*thread*/, const Site&) {}
  /// At the site of the wait, which leaves `groups_left` groups under way; the copies it retires are told next.
  virtual void copies_waited(int /*thread*/, int /*groups_left*/, const Site&) {}
  virtual void copy_landed(int /*thread*/, const AsyncCopy&) {}
};

}  // namespace ringproof::simt::host

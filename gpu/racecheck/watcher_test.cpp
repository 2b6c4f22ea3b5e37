// CUDA's ordering rules, one pair of kernels for each: with the race, and without it. The kernels of this file are
// instrumented.

#include "gpu/racecheck/watcher.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/racecheck/check.h"
#include "gpu/simt/ptx.h"
#include "gpu/simt/simt.h"

namespace ringproof::racecheck {
namespace {

using namespace simt::api;

/// What is found in one launch, one sentence per pair of lines.
template <class Kernel, class... Args>
std::vector<std::string> found(const Kernel& kernel, dim3 grid, dim3 block, const Args&... args) {
  std::vector<int> memory(8192);
  const Workload workload{"test", [&](Watcher& watcher, LaunchOptions& options) {
                            watcher.name_memory(memory.data(), memory.size() * sizeof(int), "memory");
                            launch(kernel, grid, block, 8192, &options, memory.data(), args...);
                          }};
  return find_races(workload, {}, nullptr);
}

/// Requires that something is found, and that one sentence has all these parts.
void expect_found(const std::vector<std::string>& sentences, const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& sentence : sentences) {
    bool has_all = true;
    for (const std::string& part : parts) has_all = has_all && sentence.find(part) != std::string::npos;
    if (has_all) return;
    all += "\n  " + sentence;
  }
  std::string wanted;
  for (const std::string& part : parts) wanted += " '" + part + "'";
  ADD_FAILURE() << "no sentence with" << wanted << " among:" << all;
}

void expect_clean(const std::vector<std::string>& sentences) { EXPECT_TRUE(sentences.empty()) << sentences.front(); }

int* shared_ints() { return reinterpret_cast<int*>(dynamic_smem()); }

std::string line(int number) { return "watcher_test.cpp:" + std::to_string(number); }

constexpr int kBarrierWrite = __LINE__ + 3;
__global__ void reads_the_other_warp(int* out, bool waits) {
  int* const shared = shared_ints();
  shared[threadIdx.x] = 1;
  if (waits) __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 32];
}

TEST(Watcher, SeesAReadThatNoBarrierKeepsFromTheWrite) {
  const std::vector<std::string> sentences = found(reads_the_other_warp, dim3(1), dim3(64), false);
  expect_found(sentences, {line(kBarrierWrite), line(kBarrierWrite + 2), "no synchronisation lies between"});
  expect_clean(found(reads_the_other_warp, dim3(1), dim3(64), true));
}

__global__ void writes_again(int* out, bool waits) {
  int* const shared = shared_ints();
  shared[threadIdx.x] = 1;
  __syncthreads();
  const int value = shared[threadIdx.x ^ 32];
  if (waits) __syncthreads();
  shared[threadIdx.x] = 2;
  out[threadIdx.x] = value;
}

TEST(Watcher, SeesAWriteOfWhatAnotherThreadMayStillRead) {
  expect_found(found(writes_again, dim3(1), dim3(64), false), {"no synchronisation lies between"});
  expect_clean(found(writes_again, dim3(1), dim3(64), true));
}

__global__ void all_write_the_same(int* out, int writers) {
  if (static_cast<int>(threadIdx.x) < writers) out[0] = 7;
}

TEST(Watcher, TakesWritesOfTheSameValueForARace) {
  expect_found(found(all_write_the_same, dim3(1), dim3(32), 2), {"thread 1", "writes memory + 0", "has written"});
  expect_clean(found(all_write_the_same, dim3(1), dim3(32), 1));
}

__global__ void exchanges_within_a_warp(int* out, int how) {
  int* const shared = shared_ints();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  int lane = static_cast<int>(threadIdx.x % 32);
  if (how == 1) __syncwarp();
  if (how == 2) lane = __shfl_sync(~0u, lane, lane);
  if (how == 3) lane += __any_sync(~0u, 0);
  out[threadIdx.x] = shared[threadIdx.x ^ 1] + lane;
}

TEST(Watcher, KnowsThatSyncwarpOrdersAndThatShufflesAndVotesDoNot) {
  expect_found(found(exchanges_within_a_warp, dim3(1), dim3(64), 0), {"no synchronisation"});
  expect_clean(found(exchanges_within_a_warp, dim3(1), dim3(64), 1));
  expect_found(found(exchanges_within_a_warp, dim3(1), dim3(64), 2), {"no synchronisation"});
  expect_found(found(exchanges_within_a_warp, dim3(1), dim3(64), 3), {"no synchronisation"});
}

__global__ void syncwarp_across_warps(int* out) {
  shared_ints()[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = shared_ints()[threadIdx.x ^ 32];
}

TEST(Watcher, DoesNotTakeASyncwarpForABarrier) {
  expect_found(found(syncwarp_across_warps, dim3(1), dim3(64)), {"no synchronisation lies between"});
}

// Halves of a warp synchronise apart; `distance` says whose value a lane reads.
__global__ void syncs_halves(int* out, unsigned distance) {
  shared_ints()[threadIdx.x] = 1;
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  out[threadIdx.x] = shared_ints()[threadIdx.x ^ distance];
}

TEST(Watcher, OrdersTheLanesOfAPartialMaskAndNoOthers) {
  expect_clean(found(syncs_halves, dim3(1), dim3(32), 8u));
  expect_found(found(syncs_halves, dim3(1), dim3(32), 16u), {"no synchronisation lies between"});
}

// Lanes 0 and 1 meet, then 1 and 2: what 0 wrote is known to 2 through 1.
constexpr int kFirstMeeting = __LINE__ + 3;
__global__ void hands_on(int* out) {
  if (threadIdx.x == 0) shared_ints()[0] = 5;
  if (threadIdx.x < 2) __syncwarp(0x3u);
  if (threadIdx.x > 0) __syncwarp(0x6u);
  if (threadIdx.x == 2) out[0] = shared_ints()[0];
}

TEST(Watcher, PassesOrderOnFromThreadToThread) {
  std::vector<int> memory(1);
  const Workload workload{"test", [&](Watcher&, LaunchOptions& options) {
                            launch(hands_on, dim3(1), dim3(3), 4, &options, memory.data());
                          }};
  expect_clean(find_races(workload, {}, nullptr));
  expect_found(find_races(workload, {"watcher_test.cpp", kFirstMeeting}, nullptr), {"thread 2", "thread 0"});
  expect_found(find_races(workload, {"watcher_test.cpp", kFirstMeeting + 1}, nullptr), {"thread 2", "thread 0"});
}

// Lanes 1 and 2 meet while the others wait for them in a vote of all, which orders nothing: 2 sees what 1 wrote, and 0
// may not see it before a meeting of all.
__global__ void some_meet_while_others_wait(int* out, int reader, bool all_meet) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane == 1) shared_ints()[0] = 5;
  if (lane == 1 || lane == 2) __syncwarp(0x6u);
  __any_sync(~0u, 0);
  if (all_meet) __syncwarp();
  if (lane == reader) out[0] = shared_ints()[0];
}

TEST(Watcher, OrdersLanesThatMeetWhileOthersWaitForThemAndNoOthers) {
  expect_clean(found(some_meet_while_others_wait, dim3(1), dim3(32), 2, false));
  expect_found(found(some_meet_while_others_wait, dim3(1), dim3(32), 0, false), {"thread 0", "thread 1 has written"});
  expect_clean(found(some_meet_while_others_wait, dim3(1), dim3(32), 0, true));
}

// All read; then lane 0, which has met some of the others only, writes.
__global__ void writes_after_some_have_left(int* out, std::uint32_t met) {
  if (threadIdx.x == 0) shared_ints()[0] = 1;
  __syncthreads();
  out[threadIdx.x] = shared_ints()[0];
  __any_sync(~0u, 0);
  if ((met >> threadIdx.x & 1u) != 0) __syncwarp(met);
  if (threadIdx.x == 0) shared_ints()[0] = 2;
}

TEST(Watcher, RemembersEveryReaderOfAWord) {
  expect_clean(found(writes_after_some_have_left, dim3(1), dim3(32), ~0u));
  expect_found(found(writes_after_some_have_left, dim3(1), dim3(32), 0x7fffffffu), {"which thread 31 has read"});
  expect_found(found(writes_after_some_have_left, dim3(1), dim3(32), 0xfffffffdu), {"which thread 1 has read"});
}

// Readers in warps beyond the fourth are kept in another place.
__global__ void a_later_warp_reads(int* out, bool waits) {
  if (threadIdx.x == 0) shared_ints()[0] = 1;
  __syncthreads();
  if (threadIdx.x == 200) out[0] = shared_ints()[0];
  if (waits) __syncthreads();
  if (threadIdx.x == 1023) shared_ints()[0] = 2;
}

TEST(Watcher, RemembersReadersInLaterWarps) {
  expect_found(found(a_later_warp_reads, dim3(1), dim3(1024), false), {"which thread 200 has read"});
  expect_clean(found(a_later_warp_reads, dim3(1), dim3(1024), true));
}

// Warp 0 fills, warps 1 and 2 use; barrier 1 says that it is full, barrier 2 that it may be filled again.
constexpr int kProducerLine = __LINE__ + 5;
__global__ void produces_and_consumes(int* out) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int round = 0; round < 3; ++round) {
    if (warp == 0) {
      if (round > 0) barrier_sync(2, 96);
      shared_ints()[lane] = round;
      barrier_arrive(1, 96);
    } else {
      barrier_sync(1, 96);
      out[threadIdx.x] = shared_ints()[lane];
      if (round < 2) barrier_arrive(2, 96);
    }
  }
}

TEST(Watcher, OrdersByNamedBarriersAndMissesEachLineOfThem) {
  std::vector<int> memory(96);
  const Workload workload{"test", [&](Watcher&, LaunchOptions& options) {
                            launch(produces_and_consumes, dim3(1), dim3(96), 8192, &options, memory.data());
                          }};
  expect_clean(find_races(workload, {}, nullptr));
  const Site producer_waits{"watcher_test.cpp", kProducerLine}, producer_arrives{"watcher_test.cpp", kProducerLine + 2};
  const Site consumer_waits{"watcher_test.cpp", kProducerLine + 4};
  const Site consumer_arrives{"watcher_test.cpp", kProducerLine + 6};
  for (const Site& site : {producer_waits, consumer_arrives}) {
    expect_found(find_races(workload, site, nullptr), {"writes", "has read"});
  }
  for (const Site& site : {producer_arrives, consumer_waits}) {
    expect_found(find_races(workload, site, nullptr), {"reads", "has written"});
  }
}

// Four warps meet by twos at one barrier: which two is left to chance, unless something orders the pairs.
__global__ void pairs_meet(int* out, int how) {
  const int warp = static_cast<int>(threadIdx.x) / 32, partner = static_cast<int>(threadIdx.x) ^ 32;
  shared_ints()[threadIdx.x] = 1;
  if (how == 1 && warp >= 2) barrier_sync(3, 128);
  barrier_sync(how == 2 ? 1 + warp / 2 : 1, 64);
  if (how == 1 && warp < 2) barrier_arrive(3, 128);
  out[threadIdx.x] = shared_ints()[partner];
}

TEST(Watcher, WantsARoundOfANamedBarrierOrderedAfterTheOneBefore) {
  expect_found(found(pairs_meet, dim3(1), dim3(128), 0), {"comes to a named barrier", "could have come in its place"});
  expect_clean(found(pairs_meet, dim3(1), dim3(128), 1));
  expect_clean(found(pairs_meet, dim3(1), dim3(128), 2));
}

// One warp tells the other twice that there is something, without hearing that the first was seen.
__global__ void tells_twice(int* out, bool hears) {
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x < 32) {
      if (hears && round == 1) barrier_sync(2, 64);
      barrier_arrive(1, 64);
    } else {
      barrier_sync(1, 64);
      if (round == 0 && hears) barrier_arrive(2, 64);
    }
  }
  out[threadIdx.x] = 1;
}

TEST(Watcher, WantsAnArrivalThatDoesNotWaitOrderedTooBeforeItIsRepeated) {
  expect_clean(found(tells_twice, dim3(1), dim3(64), true));
  const std::vector<std::string> sentences = found(tells_twice, dim3(1), dim3(64), false);
  EXPECT_FALSE(sentences.empty());
}

__global__ void touches_beside_shared(int* out, int offset, bool writes) {
  shared_ints()[threadIdx.x] = 1;
  __syncthreads();
  if (writes) shared_ints()[static_cast<int>(threadIdx.x) + offset] = 2;
  if (!writes) out[threadIdx.x] = shared_ints()[static_cast<int>(threadIdx.x) + offset];
}

TEST(Watcher, SeesWhatLiesBesideTheSharedMemory) {
  const auto found_with = [](int offset, bool writes) {
    std::vector<int> memory(64);
    const Workload workload{"test", [&](Watcher&, LaunchOptions& options) {
                              launch(touches_beside_shared, dim3(1), dim3(64), 256, &options, memory.data(), offset,
                                     writes);
                            }};
    return find_races(workload, {}, nullptr);
  };
  expect_clean(found_with(0, false));
  expect_clean(found_with(0, true));
  expect_found(found_with(1, false), {"thread 63 of block 0 reads shared memory + 256", "beside the shared memory"});
  expect_found(found_with(-1, false), {"thread 0 of block 0 reads shared memory + -4", "beside the shared memory"});
  expect_found(found_with(1, true), {"thread 63 of block 0 writes shared memory + 256", "beside the shared memory"});
}

// What a thread does after it has arrived is not ordered before those who wait.
__global__ void writes_after_arriving(int* out, bool too_late) {
  if (threadIdx.x < 32) {
    if (!too_late) shared_ints()[threadIdx.x] = 1;
    barrier_arrive(1, 64);
    if (too_late) shared_ints()[threadIdx.x] = 1;
  } else {
    barrier_sync(1, 64);
    out[threadIdx.x] = shared_ints()[threadIdx.x - 32];
  }
}

TEST(Watcher, OrdersNothingThatFollowsAnArrival) {
  expect_clean(found(writes_after_arriving, dim3(1), dim3(64), false));
  expect_found(found(writes_after_arriving, dim3(1), dim3(64), true), {"no synchronisation lies between"});
}

__global__ void copies_in(int* memory, int groups_left, bool waits_for_all, unsigned distance) {
  if (threadIdx.x < 32) cp_async_16(shared_ints() + 4 * threadIdx.x, memory + 4 * threadIdx.x);
  cp_async_commit();
  if (groups_left == 0) cp_async_wait<0>();
  if (groups_left == 1) cp_async_wait<1>();
  if (waits_for_all) __syncthreads();
  memory[1024 + threadIdx.x] = shared_ints()[4 * (threadIdx.x % 32 ^ distance)];
  cp_async_wait<0>();
}

TEST(Watcher, WantsCopiesWaitedForByTheirThreadAndThenABarrierForOthers) {
  expect_clean(found(copies_in, dim3(1), dim3(32), 0, false, 0u));
  expect_clean(found(copies_in, dim3(1), dim3(32), 0, true, 1u));
  expect_clean(found(copies_in, dim3(1), dim3(64), 0, true, 1u));
  expect_found(found(copies_in, dim3(1), dim3(32), 0, false, 1u), {"a cp.async of thread", "no synchronisation"});
  for (const int groups_left : {1, 2}) {  // 2: no wait at all
    expect_found(found(copies_in, dim3(1), dim3(32), groups_left, true, 0u), {"may still write"});
    expect_found(found(copies_in, dim3(1), dim3(32), groups_left, true, 1u), {"may still write"});
  }
}

// Two stages; the wait leaves the latest group under way.
__global__ void copies_in_two_stages(int* memory, bool reads_the_right_one) {
  cp_async_16(shared_ints() + 4 * threadIdx.x, memory + 4 * threadIdx.x);
  cp_async_commit();
  cp_async_16(shared_ints() + 128 + 4 * threadIdx.x, memory + 4 * threadIdx.x);
  cp_async_commit();
  cp_async_wait<1>();
  memory[1024 + threadIdx.x] = shared_ints()[4 * threadIdx.x + (reads_the_right_one ? 0 : 128)];
  cp_async_wait<0>();
}

TEST(Watcher, KnowsWhichGroupsAWaitLeavesUnderWay) {
  expect_clean(found(copies_in_two_stages, dim3(1), dim3(32), true));
  expect_found(found(copies_in_two_stages, dim3(1), dim3(32), false), {"may still write"});
}

__global__ void changes_the_source(int* memory, bool waits) {
  cp_async_16(shared_ints() + 4 * threadIdx.x, memory + 4 * threadIdx.x);
  cp_async_commit();
  if (waits) cp_async_wait<0>();
  memory[4 * threadIdx.x] = 1;
  cp_async_wait<0>();
}

TEST(Watcher, SeesTheSourceOfACopyChangedTooSoon) {
  expect_clean(found(changes_the_source, dim3(1), dim3(32), true));
  expect_found(found(changes_the_source, dim3(1), dim3(32), false), {"writes memory", "may still read"});
}

// The second copy into a buffer must not start before its readers are done.
__global__ void copies_over_what_is_read(int* memory, bool waits) {
  shared_ints()[4 * threadIdx.x] = 1;
  __syncthreads();
  memory[1024 + threadIdx.x] = shared_ints()[4 * (threadIdx.x ^ 1)];
  if (waits) __syncthreads();
  cp_async_16(shared_ints() + 4 * threadIdx.x, memory + 4 * threadIdx.x);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(Watcher, SeesACopyOverWhatAnotherThreadMayStillRead) {
  expect_clean(found(copies_over_what_is_read, dim3(1), dim3(32), true));
  expect_found(found(copies_over_what_is_read, dim3(1), dim3(32), false), {"the cp.async of thread", "has read"});
}

__global__ void blocks_write(int* memory, unsigned shared_elements) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  memory[i < shared_elements ? 0 : i] = 1;
}
__global__ void blocks_read_and_one_writes(int* memory, unsigned writer) {
  memory[1 + blockIdx.x] = memory[0];
  if (blockIdx.x == writer) memory[0] = 1;
}

TEST(Watcher, TakesNothingForOrderBetweenBlocks) {
  expect_clean(found(blocks_write, dim3(3), dim3(32), 1u));
  expect_found(found(blocks_write, dim3(40), dim3(1), 2u), {"of block 1", "of block 0", "nothing orders the blocks"});
  expect_clean(found(blocks_read_and_one_writes, dim3(3), dim3(1), 9u));
  for (const unsigned writer : {0u, 1u, 2u}) {
    expect_found(found(blocks_read_and_one_writes, dim3(3), dim3(1), writer), {"nothing orders the blocks"});
  }
}

TEST(Watcher, TakesTheEndOfALaunchForOrder) {
  std::vector<int> memory(64);
  const Workload workload{"two launches", [&](Watcher&, LaunchOptions& options) {
                            for (int i = 0; i < 2; ++i)
                              launch(blocks_write, dim3(2), dim3(32), 0, &options, memory.data(), 0u);
                          }};
  expect_clean(find_races(workload, {}, nullptr));
}

__global__ void counts(int* memory, int how) {
  if (how == 2 && threadIdx.x == 0 && blockIdx.x == 0) memory[0] = 5;
  atomicAdd(&memory[0], 1);
  if (how == 1 && threadIdx.x == 0 && blockIdx.x == 0) memory[1] = memory[0];
  if (how == 3) {
    __syncthreads();
    if (threadIdx.x == 0) memory[1] = memory[0];
  }
}

TEST(Watcher, LetsAtomicsMeetEachOtherAndNothingElse) {
  expect_clean(found(counts, dim3(3), dim3(64), 0));
  expect_found(found(counts, dim3(1), dim3(64), 1), {"atomically updates", "has read"});
  expect_found(found(counts, dim3(1), dim3(64), 2), {"atomically updates", "has written"});
  expect_clean(found(counts, dim3(1), dim3(64), 3));
  expect_found(found(counts, dim3(2), dim3(64), 3), {"has atomically updated", "nothing orders the blocks"});
}

__global__ void reads_what_is_there(int* out, unsigned written) {
  if (threadIdx.x < written) shared_ints()[threadIdx.x] = 1;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared_ints()[threadIdx.x];
}

TEST(Watcher, SeesReadsOfSharedMemoryThatTheBlockHasNotWritten) {
  expect_clean(found(reads_what_is_there, dim3(2), dim3(32), 32u));
  expect_found(found(reads_what_is_there, dim3(2), dim3(32), 31u),
               {"thread 31 of block 0 reads shared memory + 124, which this block has not written"});
}

// Bytes and halves of one word belong to different threads.
template <class T>
__global__ void writes_small_values(int* out, bool neighbours_too) {
  T* const shared = reinterpret_cast<T*>(dynamic_smem());
  shared[threadIdx.x] = static_cast<T>(1);
  if (neighbours_too) shared[threadIdx.x + 1] = static_cast<T>(2);
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}

TEST(Watcher, JudgesEachByteOfAWord) {
  expect_clean(found(writes_small_values<std::int8_t>, dim3(1), dim3(64), false));
  expect_clean(found(writes_small_values<std::int16_t>, dim3(1), dim3(64), false));
  expect_found(found(writes_small_values<std::int8_t>, dim3(1), dim3(64), true), {"has written"});
  expect_found(found(writes_small_values<std::int16_t>, dim3(1), dim3(64), true), {"has written"});
}

// A word that is written whole, read whole by all, and then in halves.
__global__ void writes_half_of_what_is_read(int* out, bool waits) {
  shared_ints()[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = shared_ints()[threadIdx.x ^ 32];
  if (waits) __syncthreads();
  reinterpret_cast<std::int16_t*>(dynamic_smem())[2 * threadIdx.x] = 2;
}

TEST(Watcher, KeepsWhatItKnowsOfAWordWhenSomebodyTouchesAPart) {
  expect_clean(found(writes_half_of_what_is_read, dim3(1), dim3(64), true));
  expect_found(found(writes_half_of_what_is_read, dim3(1), dim3(64), false), {"no synchronisation lies between"});
}

struct Record {
  int values[12];
};

__global__ void copies_structures(int* out, bool by_memcpy, bool waits) {
  Record* const shared = reinterpret_cast<Record*>(dynamic_smem());
  Record own{};
  own.values[3] = static_cast<int>(threadIdx.x);
  if (by_memcpy) {
    std::memcpy(&shared[threadIdx.x], &own, sizeof(own));
  } else {
    shared[threadIdx.x] = own;
  }
  if (waits) __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 32].values[3];
}

TEST(Watcher, SeesStructuresAndMemcpy) {
  for (const bool by_memcpy : {false, true}) {
    expect_clean(found(copies_structures, dim3(1), dim3(64), by_memcpy, true));
    expect_found(found(copies_structures, dim3(1), dim3(64), by_memcpy, false), {"no synchronisation lies between"});
  }
}

// A row is loaded by the lanes that get a part of it, not by the lane that gives its address.
__global__ void loads_matrices(int* out, bool waits) {
  std::uint16_t* const row = reinterpret_cast<std::uint16_t*>(dynamic_smem()) + 8 * threadIdx.x;
  for (int i = 0; i < 8; ++i) row[i] = static_cast<std::uint16_t>(i);
  if (waits) __syncwarp();
  std::uint32_t r[4];
  ldmatrix_x4(r, row);
  out[threadIdx.x] = static_cast<int>(r[0]);
}

TEST(Watcher, WantsTheRowsOfALdmatrixOrderedForEveryLane) {
  expect_clean(found(loads_matrices, dim3(1), dim3(32), true));
  expect_found(found(loads_matrices, dim3(1), dim3(32), false), {"reads shared memory", "has written"});
}

}  // namespace
}  // namespace ringproof::racecheck

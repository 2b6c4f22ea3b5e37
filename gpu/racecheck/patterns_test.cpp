// Patterns of real kernels, each right and with the faults it is known for: what is written in one line too few, one
// iteration too early, with one stage or one barrier too many in mind. The kernels of this file are instrumented.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/racecheck/check.h"
#include "gpu/racecheck/watcher.h"
#include "gpu/simt/ptx.h"
#include "gpu/simt/simt.h"

namespace ringproof::racecheck {
namespace {

using namespace simt::api;

/// What is found in a launch of one block of so many threads; empty where nothing is.
template <class Kernel, class... Args>
std::string found(const Kernel& kernel, unsigned threads, const Args&... args) {
  std::vector<int> memory(8192, 1);
  const Workload workload{"test", [&](Watcher&, LaunchOptions& options) {
                            launch(kernel, dim3(1), dim3(threads), 8192, &options, memory.data(), args...);
                          }};
  const std::vector<std::string> sentences = find_races(workload, {}, nullptr);
  return sentences.empty() ? "" : sentences.front();
}

int* shared_ints() { return reinterpret_cast<int*>(dynamic_smem()); }
int lane_of_thread() { return static_cast<int>(threadIdx.x) % 32; }

enum class DoubleBuffering { kRight, kLastWaitTooShort, kNoBarrierAtTheEnd, kWaitAfterBarrier };

__global__ void double_buffering(int* memory, DoubleBuffering how) {
  constexpr int kTiles = 4;
  const auto stage = [](int tile) { return shared_ints() + 128 * (tile % 2); };
  const auto load = [&](int tile) {
    cp_async_16(stage(tile) + 4 * threadIdx.x, memory + 128 * tile + 4 * threadIdx.x);
    cp_async_commit();
  };
  int sum = 0;
  load(0);
  for (int tile = 0; tile < kTiles; ++tile) {
    const bool is_last = tile + 1 == kTiles;
    if (!is_last) load(tile + 1);
    if (how == DoubleBuffering::kWaitAfterBarrier) __syncthreads();
    if (!is_last || how == DoubleBuffering::kLastWaitTooShort) {
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    if (how != DoubleBuffering::kWaitAfterBarrier) __syncthreads();
    sum += stage(tile)[4 * (threadIdx.x ^ 1)];
    if (how != DoubleBuffering::kNoBarrierAtTheEnd) __syncthreads();
  }
  cp_async_wait<0>();
  memory[4096 + threadIdx.x] = sum;
}

TEST(Patterns, DoubleBufferedCopies) {
  EXPECT_EQ(found(double_buffering, 32, DoubleBuffering::kRight), "");
  EXPECT_NE(found(double_buffering, 32, DoubleBuffering::kLastWaitTooShort), "");
  EXPECT_NE(found(double_buffering, 32, DoubleBuffering::kNoBarrierAtTheEnd), "");
  EXPECT_NE(found(double_buffering, 32, DoubleBuffering::kWaitAfterBarrier), "");
}

/// With three stages and one barrier per tile, copies may run two tiles ahead: a third comes one iteration too early.
__global__ void three_stages(int* memory, int ahead) {
  constexpr int kTiles = 6;
  const auto stage = [](int tile) { return shared_ints() + 128 * (tile % 3); };
  const auto load = [&](int tile) {
    if (tile < kTiles) cp_async_16(stage(tile) + 4 * threadIdx.x, memory + 128 * tile + 4 * threadIdx.x);
    cp_async_commit();
  };
  int sum = 0;
  for (int tile = 0; tile < ahead; ++tile) load(tile);
  for (int tile = 0; tile < kTiles; ++tile) {
    if (ahead == 2) cp_async_wait<1>();
    if (ahead == 3) cp_async_wait<2>();
    __syncthreads();
    load(tile + ahead);
    sum += stage(tile)[4 * (threadIdx.x ^ 1)];
  }
  cp_async_wait<0>();
  memory[4096 + threadIdx.x] = sum;
}

TEST(Patterns, StagesMayBeFilledOneIterationAheadAndNoEarlier) {
  EXPECT_EQ(found(three_stages, 32, 2), "");
  EXPECT_NE(found(three_stages, 32, 3), "");
}

enum class Specialised { kRight, kNeverWaitsForEmpty, kReadsAfterReleasing, kTellsOfTheOtherStage, kArrivesBeforeWait };

/// Warp 0 copies tiles into two stages, warps 1 and 2 use them: barriers 1 and 2 say full, 3 and 4 empty.
__global__ void producer_and_consumers(int* memory, Specialised how) {
  constexpr int kTiles = 6, kAll = 96;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = lane_of_thread();
  int sum = 0;
  for (int tile = 0; tile < kTiles; ++tile) {
    const int stage = tile % 2;
    int* const own = shared_ints() + 128 * stage;
    if (warp == 0) {
      if (tile >= 2 && how != Specialised::kNeverWaitsForEmpty) barrier_sync(3 + stage, kAll);
      cp_async_16(own + 4 * lane, memory + 128 * tile + 4 * lane);
      cp_async_commit();
      if (how != Specialised::kArrivesBeforeWait) cp_async_wait<0>();
      barrier_arrive(how == Specialised::kTellsOfTheOtherStage ? 2 - stage : 1 + stage, kAll);
      cp_async_wait<0>();
    } else {
      barrier_sync(1 + stage, kAll);
      sum += own[4 * (lane ^ 1)];
      if (tile + 2 < kTiles && how != Specialised::kNeverWaitsForEmpty) barrier_arrive(3 + stage, kAll);
      if (how == Specialised::kReadsAfterReleasing) sum += own[4 * lane];
    }
  }
  memory[4096 + threadIdx.x] = sum;
}

TEST(Patterns, WarpsThatProduceAndWarpsThatConsume) {
  EXPECT_EQ(found(producer_and_consumers, 96, Specialised::kRight), "");
  EXPECT_NE(found(producer_and_consumers, 96, Specialised::kNeverWaitsForEmpty), "");
  EXPECT_NE(found(producer_and_consumers, 96, Specialised::kReadsAfterReleasing), "");
  EXPECT_NE(found(producer_and_consumers, 96, Specialised::kTellsOfTheOtherStage), "");
  EXPECT_NE(found(producer_and_consumers, 96, Specialised::kArrivesBeforeWait), "");
}

/// Two warps take turns in one place: barrier 1 gives the turn to warp 0, barrier 2 to warp 1.
__global__ void ping_pong(int* memory, bool takes_turns) {
  constexpr int kRounds = 4, kBoth = 64;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = lane_of_thread();
  int sum = 0;
  if (takes_turns && warp == 1) barrier_arrive(1, kBoth);
  for (int round = 0; round < kRounds; ++round) {
    if (takes_turns) barrier_sync(1 + warp, kBoth);
    shared_ints()[lane] = round;
    __syncwarp();
    sum += shared_ints()[lane ^ 1];
    if (takes_turns && !(warp == 1 && round + 1 == kRounds)) barrier_arrive(2 - warp, kBoth);
  }
  memory[4096 + threadIdx.x] = sum;
}

TEST(Patterns, WarpsThatTakeTurns) {
  EXPECT_EQ(found(ping_pong, 64, true), "");
  EXPECT_NE(found(ping_pong, 64, false), "");
}

/// The sum of a warp in shared memory, as it was written when warps ran in step.
__global__ void sum_of_a_warp(int* memory, bool syncs) {
  const int lane = lane_of_thread();
  shared_ints()[lane] = memory[lane];
  __syncwarp();
  for (int apart = 16; apart > 0; apart /= 2) {
    const int sum = lane < apart ? shared_ints()[lane] + shared_ints()[lane + apart] : 0;
    if (syncs) __syncwarp();
    if (lane < apart) shared_ints()[lane] = sum;
    if (syncs) __syncwarp();
  }
  if (lane == 0) memory[4096] = shared_ints()[0];
}

TEST(Patterns, WarpsDoNotRunInStep) {
  EXPECT_EQ(found(sum_of_a_warp, 32, true), "");
  EXPECT_NE(found(sum_of_a_warp, 32, false), "");
}

/// Ever larger groups of lanes meet; `reach` is how far a lane looks after the first meeting, of pairs.
__global__ void growing_groups(int* memory, int reach) {
  const int lane = lane_of_thread();
  shared_ints()[lane] = lane;
  __syncwarp(0x3u << (lane & ~1));
  int sum = shared_ints()[lane ^ reach];
  __syncwarp(0xfu << (lane & ~3));
  sum += shared_ints()[lane ^ 2];
  memory[4096 + lane] = sum;
}

TEST(Patterns, GroupsOfLanesThatGrow) {
  EXPECT_EQ(found(growing_groups, 32, 1), "");
  EXPECT_NE(found(growing_groups, 32, 2), "");
}

/// Eight rows of four 16-byte pieces, row r's piece c stored at c ^ (r % 4), one piece of padding a row.
__global__ void swizzled_rows(int* memory, bool reads_as_written) {
  auto* const halves = reinterpret_cast<std::uint16_t*>(dynamic_smem());
  const int row = lane_of_thread() % 8, piece = lane_of_thread() / 8, swizzled = piece ^ (row % 4);
  for (int i = 0; i < 8; ++i) halves[row * 40 + swizzled * 8 + i] = 7;
  __syncwarp();
  std::uint32_t r[4];
  ldmatrix_x4(r, halves + row * 40 + (reads_as_written ? swizzled : piece + 1) * 8);
  memory[4096 + lane_of_thread()] = static_cast<int>(r[0]);
}

TEST(Patterns, RowsReadWhereTheSwizzlePutThem) {
  EXPECT_EQ(found(swizzled_rows, 32, true), "");
  EXPECT_NE(found(swizzled_rows, 32, false), "");
}

union Reused {
  float scores[64];
  double sums[32];
};

/// Memory that holds scores first and sums of another type afterwards.
__global__ void reuses_memory(int* memory, bool waits) {
  auto* const reused = reinterpret_cast<Reused*>(dynamic_smem());
  reused->scores[threadIdx.x] = 1;
  __syncthreads();
  const float score = reused->scores[63 - threadIdx.x];
  if (waits) __syncthreads();
  if (threadIdx.x < 32) reused->sums[threadIdx.x] = static_cast<double>(score);
  __syncthreads();
  memory[4096 + threadIdx.x] = static_cast<int>(reused->sums[threadIdx.x % 32]);
}

TEST(Patterns, MemoryThatIsReusedUnderAnotherType) {
  EXPECT_EQ(found(reuses_memory, 64, true), "");
  EXPECT_NE(found(reuses_memory, 64, false), "");
}

}  // namespace
}  // namespace ringproof::racecheck

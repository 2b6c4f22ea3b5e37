// Each promise of the host runtime, with kernels of a few lines. Where a fault is provoked, the report must be of the
// right kind and name the lines concerned.

#include "gpu/simt/runtime.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "gpu/simt/reports_test.h"
#include "gpu/simt/shared_memory.h"
#include "gpu/simt/simt.h"
#include "reference/spec/error.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

LaunchOptions on_one_thread(Order order = Order::kForward, std::uint64_t seed = 0) { return {order, seed, 1}; }

__global__ void reverse_in_shared_memory(int* out) {
  int* shared = reinterpret_cast<int*>(dynamic_smem());
  const unsigned t = threadIdx.x, n = blockDim.x;
  for (int round = 0; round < 3; ++round) {
    shared[t] = static_cast<int>(t * 10 + static_cast<unsigned>(round));
    __syncthreads();
    out[blockIdx.x * n + t] = shared[n - 1 - t];
    __syncthreads();
  }
}

TEST(HostRuntime, BarrierShowsTheWritesOfEveryThreadInEveryOrder) {
  for (const LaunchOptions& options : every_order()) {
    for (const unsigned n : {1u, 33u, 128u, 1024u}) {
      std::vector<int> got(std::size_t{3} * n, -1);
      launch(reverse_in_shared_memory, dim3(3), dim3(n), n * sizeof(int), &options, got.data());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], static_cast<int>((n - 1 - i % n) * 10 + 2));
    }
  }
}

__global__ void count_visits(int* visits) {
  const unsigned x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  const unsigned z = blockIdx.z * blockDim.z + threadIdx.z;
  ++visits[(z * (gridDim.y * blockDim.y) + y) * (gridDim.x * blockDim.x) + x];
}

TEST(HostRuntime, EveryThreadOfEveryBlockRunsOnceUnderItsOwnIndex) {
  for (const LaunchOptions& options : every_order()) {
    std::vector<int> visits(std::size_t{3} * 4 * 5 * 4 * 3 * 2, 0);
    launch(count_visits, dim3(3, 4, 5), dim3(4, 3, 2), 0, &options, visits.data());
    EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), static_cast<std::ptrdiff_t>(visits.size()));
  }
}

__global__ void shuffle_all_ways(double* out, int width) {
  const int lane = static_cast<int>(threadIdx.x);
  const double value = 100.0 + lane;
  out[lane] = __shfl_sync(~0u, value, 3, width);
  out[32 + lane] = __shfl_xor_sync(~0u, value, 5, width);
  out[64 + lane] = __shfl_up_sync(~0u, value, 2, width);
  out[96 + lane] = __shfl_down_sync(~0u, value, 2, width);
}

TEST(HostRuntime, ShufflesMoveValuesWithinSegments) {
  for (const LaunchOptions& options : every_order()) {
    for (const int width : {8, 32}) {
      std::vector<double> got(128, -1);
      launch(shuffle_all_ways, dim3(1), dim3(32), 0, &options, got.data(), width);
      for (int lane = 0; lane < 32; ++lane) {
        const int begin = lane / width * width, end = begin + width;
        EXPECT_EQ(got[std::size_t(lane)], 100.0 + begin + 3);
        EXPECT_EQ(got[std::size_t(32 + lane)], 100.0 + (lane ^ 5));
        EXPECT_EQ(got[std::size_t(64 + lane)], 100.0 + (lane - 2 >= begin ? lane - 2 : lane));
        EXPECT_EQ(got[std::size_t(96 + lane)], 100.0 + (lane + 2 < end ? lane + 2 : lane));
      }
    }
  }
}

__global__ void xor_into_a_later_segment(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __shfl_xor_sync(~0u, lane, 8, 8);
}

TEST(HostRuntime, XorShuffleReadsEarlierSegmentsButKeepsItsValueBeforeLaterOnes) {
  std::vector<int> got(32, -1);
  launch(xor_into_a_later_segment, dim3(1), dim3(32), 0, nullptr, got.data());
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(got[std::size_t(lane)], lane % 16 < 8 ? lane : lane - 8);
}

__global__ void vote(std::uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __ballot_sync(~0u, lane % 3 == 0);
  out[32 + lane] = static_cast<std::uint32_t>(__any_sync(~0u, lane == 7) + 2 * __any_sync(~0u, 0));
  out[64 + lane] = static_cast<std::uint32_t>(__all_sync(~0u, 1) + 2 * __all_sync(~0u, lane != 7));
}

TEST(HostRuntime, VotesHearEveryLane) {
  std::uint32_t multiples_of_3 = 0;
  for (unsigned lane = 0; lane < 32; lane += 3) multiples_of_3 |= 1u << lane;
  for (const LaunchOptions& options : every_order()) {
    std::vector<std::uint32_t> got(96, 0);
    launch(vote, dim3(1), dim3(32), 0, &options, got.data());
    EXPECT_EQ(std::count(got.begin(), got.begin() + 32, multiples_of_3), 32);
    EXPECT_EQ(std::count(got.begin() + 32, got.end(), 1u), 64);
  }
}

__global__ void halves_apart(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) {
    out[lane] = __shfl_sync(0x0000ffffu, lane, 15);
    __syncwarp(0x0000ffffu);
  } else {
    out[lane] = static_cast<int>(__ballot_sync(0xffff0000u, 1) >> 16);
  }
}

TEST(HostRuntime, DisjointMasksOfOneWarpDoNotDisturbEachOther) {
  for (const LaunchOptions& options : every_order()) {
    std::vector<int> got(32, -1);
    launch(halves_apart, dim3(1), dim3(32), 0, &options, got.data());
    EXPECT_EQ(std::count(got.begin(), got.begin() + 16, 15), 16);
    EXPECT_EQ(std::count(got.begin() + 16, got.end(), 0xffff), 16);
  }
}

__global__ void ballot_of_all_lanes(std::uint32_t* out) { out[threadIdx.x] = __ballot_sync(~0u, 1); }

TEST(HostRuntime, LanesThatALastWarpNeverHadMayBeNamed) {
  std::vector<std::uint32_t> got(48, 0);
  launch(ballot_of_all_lanes, dim3(1), dim3(48), 0, nullptr, got.data());
  EXPECT_EQ(got[0], ~0u);
  EXPECT_EQ(got[47], 0xffffu);
}

__global__ void note_order(std::vector<unsigned>* order) {
  order->push_back(blockIdx.x * blockDim.x + threadIdx.x);
  __syncthreads();
}

void expect_order_asked_for(unsigned blocks, unsigned threads) {
  const auto order_under = [&](Order asked, std::uint64_t seed) {
    const LaunchOptions options = on_one_thread(asked, seed);
    std::vector<unsigned> order;
    launch(note_order, dim3(blocks), dim3(threads), 0, &options, &order);
    return order;
  };
  std::vector<unsigned> ascending(std::size_t{blocks} * threads);
  std::iota(ascending.begin(), ascending.end(), 0u);
  EXPECT_EQ(order_under(Order::kForward, 0), ascending);
  EXPECT_EQ(order_under(Order::kReverse, 0), std::vector<unsigned>(ascending.rbegin(), ascending.rend()));
  const std::vector<unsigned> one = order_under(Order::kRandom, 1);
  EXPECT_EQ(order_under(Order::kRandom, 1), one);
  EXPECT_NE(order_under(Order::kRandom, 2), one);
  EXPECT_NE(one, ascending);
  std::vector<unsigned> sorted = one;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, ascending);
}

TEST(HostRuntime, OrderOfThreadsIsTheOneAskedForAndAFunctionOfTheSeed) { expect_order_asked_for(1, 100); }

TEST(HostRuntime, OrderOfBlocksIsTheOneAskedForAndAFunctionOfTheSeed) { expect_order_asked_for(100, 1); }

__global__ void read_then_write_shared_memory(int* nan_count, std::uintptr_t* address_bits) {
  float* shared = reinterpret_cast<float*>(dynamic_smem());
  *address_bits |= reinterpret_cast<std::uintptr_t>(shared);
  for (int i = 0; i < 100; ++i) nan_count[blockIdx.x] += std::isnan(shared[i]) ? 1 : 0;
  for (int i = 0; i < 100; ++i) shared[i] = 1.0f;
}

TEST(HostRuntime, SharedMemoryIsAlignedAndHoldsNanBeforeEveryBlock) {
  std::vector<int> nan_count(5, 0);
  std::uintptr_t address_bits = 0;
  const LaunchOptions options = on_one_thread();
  launch(read_then_write_shared_memory, dim3(5), dim3(1), 100 * sizeof(float), &options, nan_count.data(),
         &address_bits);
  EXPECT_EQ(nan_count, std::vector<int>(5, 100));
  EXPECT_EQ(address_bits % 128, 0u);
}

__global__ void store_beside(int index) { reinterpret_cast<float*>(dynamic_smem())[index] = 1.0f; }
__global__ void load_beside(float* out, int index) { *out = reinterpret_cast<float*>(dynamic_smem())[index]; }

TEST(HostRuntime, AStoreBesideSharedMemoryIsReportedAndALoadThereGivesNan) {
  if (SharedMemory::kGuardBytes == 0) GTEST_SKIP() << "AddressSanitizer stops it where it happens";
  for (const int index : {64, 191, -1, -128}) {
    const Report report = report_of(store_beside, dim3(1), index);  // of 256 bytes
    EXPECT_EQ(report.kind, ReportKind::kOutsideShared) << report.text;
    EXPECT_NE(report.text.find("at offset " + std::to_string(4 * index)), std::string::npos) << report.text;
    float got = 0;
    launch(load_beside, dim3(1), dim3(1), 256, nullptr, &got, index);
    EXPECT_TRUE(std::isnan(got)) << index;
  }
  EXPECT_TRUE(launch_reported(store_beside, dim3(1), dim3(1), 256, nullptr, 63).empty());
}

__global__ void read_without_barrier(float* out) {
  float* shared = reinterpret_cast<float*>(dynamic_smem());
  shared[threadIdx.x] = 1.0f;
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

TEST(HostRuntime, PoisonAndOrderShowAMissingBarrier) {
  std::vector<float> forward(64), reverse(64);
  const LaunchOptions in_reverse = on_one_thread(Order::kReverse);
  launch(read_without_barrier, dim3(1), dim3(64), 64 * sizeof(float), nullptr, forward.data());
  launch(read_without_barrier, dim3(1), dim3(64), 64 * sizeof(float), &in_reverse, reverse.data());
  EXPECT_TRUE(std::isnan(forward[0]));
  EXPECT_EQ(reverse[0], 1.0f);
}

__global__ void write_into_each_others_place(unsigned* out) { out[threadIdx.x] = blockIdx.x; }

TEST(HostRuntime, OrderShowsBlocksThatWriteTheSamePlace) {
  std::vector<unsigned> forward(32), reverse(32);
  const LaunchOptions in_order = on_one_thread(), in_reverse = on_one_thread(Order::kReverse);
  launch(write_into_each_others_place, dim3(3), dim3(32), 0, &in_order, forward.data());
  launch(write_into_each_others_place, dim3(3), dim3(32), 0, &in_reverse, reverse.data());
  EXPECT_EQ(forward[7], 2u);
  EXPECT_EQ(reverse[7], 0u);
}

__global__ void multiply_where(int* line, bool two_types) {
  const std::uint32_t a[4] = {}, b[2] = {};
  float c[4] = {};
  *line = __LINE__ + 2;
  if (threadIdx.x < 16) {
    mma_m16n8k16<bf16>(c, a, b, c);
  } else if (two_types) {
    mma_m16n8k16<fp16>(c, a, b, c);
  } else {
    mma_m16n8k16<bf16>(c, a, b, c);
  }
}

TEST(HostRuntime, LanesThatMultiplyAtDifferentPlacesAreReportedWithBothLines) {
  for (const bool two_types : {false, true}) {
    int line = 0;
    const Report report = report_of(multiply_where, dim3(32), &line, two_types);
    EXPECT_EQ(report.kind, ReportKind::kDifferentOperations) << report.text;
    expect_names_line(report, line);
    expect_names_line(report, line + (two_types ? 2 : 4));
  }
}

__global__ void multiply_with_a_lane_gone(int* line, unsigned lane_returning) {
  const std::uint32_t a[4] = {}, b[2] = {};
  float c[4] = {};
  *line = __LINE__ + 2;
  if (threadIdx.x == lane_returning) return;
  mma_m16n8k16<bf16>(c, a, b, c);
}

TEST(HostRuntime, AnMmaWithoutAllItsLanesIsReported) {
  for (const unsigned lane_returning : {0u, 31u, 99u}) {
    int line = 0;
    const unsigned threads = lane_returning == 99 ? 40 : 32;  // or a last warp of 8 lanes
    const Report report = report_of(multiply_with_a_lane_gone, dim3(threads), &line, lane_returning);
    EXPECT_EQ(report.kind, ReportKind::kExitedLane) << report.text;
    expect_names_line(report, line);
  }
}

__global__ void wait_for_each_other(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

TEST(HostRuntime, DeadlockIsReportedWithTheLinesOfThoseWhoWait) {
  int line = 0;
  Report report = report_of(wait_for_each_other, dim3(32), &line);
  EXPECT_EQ(report.kind, ReportKind::kDeadlock) << report.text;
  expect_names_line(report, line);
  const LaunchOptions reverse = on_one_thread(Order::kReverse);
  const std::vector<Report> reports = launch_reported(wait_for_each_other, dim3(1), dim3(17), 0, &reverse, &line);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].kind, ReportKind::kDeadlock);
}

__global__ void meet_at_two_barriers(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(HostRuntime, DivergentBarrierIsReportedWithBothLines) {
  int line = 0;
  const Report report = report_of(meet_at_two_barriers, dim3(64), &line);
  EXPECT_EQ(report.kind, ReportKind::kDivergentBarrier) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 2);
}

__global__ void return_before_the_barrier(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

TEST(HostRuntime, BarrierThatSomeThreadsHaveReturnedFromIsReported) {
  for (const LaunchOptions& options : every_order()) {
    int line = 0;
    const auto reports = launch_reported(return_before_the_barrier, dim3(1), dim3(64), 0, &options, &line);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].kind, ReportKind::kPartialBarrier) << reports[0].text;
    expect_names_line(reports[0], line);
    EXPECT_NE(reports[0].text.find("40 of 64"), std::string::npos);
  }
}

__global__ void call_with_a_mask_of_others(int* line) {
  *line = __LINE__ + 1;
  __syncwarp(0x0000fffeu);
}

/// Lanes 0 to 16 name 16 as well, which meets others and is never there.
__global__ void call_with_overlapping_masks(int* line) {
  *line = __LINE__ + 1;
  __syncwarp(threadIdx.x < 16 ? 0x0001ffffu : 0xffff0000u);
}

/// Lane 0 waits for 1 at one place, 1 for 0 at another.
__global__ void wait_under_two_masks(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x == 0) {
    __syncwarp(0x3u);
  } else {
    __syncwarp(0x7u);
  }
}

TEST(HostRuntime, WrongMasksAreReported) {
  int line = 0;
  Report report = report_of(call_with_a_mask_of_others, dim3(32), &line);
  EXPECT_EQ(report.kind, ReportKind::kWrongMask) << report.text;
  expect_names_line(report, line);
  report = report_of(wait_under_two_masks, dim3(3), &line);
  EXPECT_EQ(report.kind, ReportKind::kWrongMask) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 2);
  for (const LaunchOptions& options : every_order()) {
    const auto reports = launch_reported(call_with_overlapping_masks, dim3(1), dim3(32), 0, &options, &line);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].kind, ReportKind::kExitedLane) << reports[0].text;
    expect_names_line(reports[0], line);
  }
}

/// While lane 0 (and whoever has nothing else to do) waits for all 32, some of those it waits for meet first: 1 and 2,
/// 2 and 3, and 4 to 7 in another operation.
__global__ void meet_before_meeting_all(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = lane;
  if (lane == 1 || lane == 2) __syncwarp(0x6u);
  if (lane == 2 || lane == 3) value = __shfl_xor_sync(0xcu, value, 1);
  if (lane >= 4 && lane < 8) value += static_cast<int>(__ballot_sync(0xf0u, lane % 2));
  out[lane] = __shfl_sync(~0u, value, lane ^ 1);
}

TEST(HostRuntime, LanesMayMeetUnderAPartOfTheMaskUnderWhichOthersWaitForThem) {
  for (const LaunchOptions& options : every_order()) {
    std::vector<int> got(32, -1);
    launch(meet_before_meeting_all, dim3(1), dim3(32), 0, &options, got.data());
    EXPECT_EQ(got[0], 1);
    EXPECT_EQ(got[2], 2);  // what 3 has, which it got of 2
    EXPECT_EQ(got[3], 3);
    EXPECT_EQ(got[4], 5 + 0xa0);
    EXPECT_EQ(got[31], 30);
  }
}

/// Three lanes, each of which waits for the next under a mask of its own: no two wait for one another.
__global__ void wait_in_a_circle(int* line) {
  *line = __LINE__ + 1;
  __syncwarp(threadIdx.x == 0 ? 0x3u : threadIdx.x == 1 ? 0x6u : 0x5u);
}

TEST(HostRuntime, LanesThatWaitInACircleAreADeadlock) {
  for (const LaunchOptions& options : every_order()) {
    int line = 0;
    const auto reports = launch_reported(wait_in_a_circle, dim3(1), dim3(3), 0, &options, &line);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].kind, ReportKind::kDeadlock) << reports[0].text;
    expect_names_line(reports[0], line);
  }
}

__global__ void return_before_the_shuffle(int* line, unsigned lane_returning) {
  *line = __LINE__ + 2;
  if (threadIdx.x == lane_returning) return;
  __shfl_sync(~0u, 1.0f, 0);
}

TEST(HostRuntime, MaskThatNamesAReturnedLaneIsReported) {
  for (const unsigned lane_returning : {0u, 31u}) {  // before the others arrive, and after
    int line = 0;
    const Report report = report_of(return_before_the_shuffle, dim3(32), &line, lane_returning);
    EXPECT_EQ(report.kind, ReportKind::kExitedLane) << report.text;
    expect_names_line(report, line);
  }
}

__global__ void do_different_things(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x % 2 == 0) {
    __shfl_xor_sync(~0u, 1, 1);
  } else {
    __syncwarp();
  }
}

TEST(HostRuntime, DifferentOperationsUnderOneMaskAreReportedWithBothLines) {
  int line = 0;
  const Report report = report_of(do_different_things, dim3(32), &line);
  EXPECT_EQ(report.kind, ReportKind::kDifferentOperations) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 2);
}

__global__ void read_a_lane_outside_the_mask(int* line) {
  *line = __LINE__ + 1;
  if (threadIdx.x < 4) __shfl_sync(0xfu, 1, 4);
}

TEST(HostRuntime, ShuffleFromALaneOutsideTheMaskIsReported) {
  int line = 0;
  const Report report = report_of(read_a_lane_outside_the_mask, dim3(32), &line);
  EXPECT_EQ(report.kind, ReportKind::kInactiveSource) << report.text;
  expect_names_line(report, line);
}

__global__ void throw_in_thread_5() {
  __syncthreads();
  if (threadIdx.x == 5) throw std::runtime_error("five");
  __syncthreads();
}

TEST(HostRuntime, ExceptionOfAKernelIsReported) {
  const Report report = report_of(throw_in_thread_5, dim3(32));
  EXPECT_EQ(report.kind, ReportKind::kException);
  EXPECT_NE(report.text.find("thread 5"), std::string::npos) << report.text;
  EXPECT_NE(report.text.find("five"), std::string::npos) << report.text;
}

TEST(HostRuntime, LaunchThrowsWhatWasReportedAndTheNextLaunchIsSound) {
  int line = 0;
  try {
    launch(meet_at_two_barriers, dim3(4), dim3(64), 0, nullptr, &line);
    ADD_FAILURE() << "launch() returned";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("runtime_test.cpp:" + std::to_string(line)), std::string::npos);
  }
  std::vector<int> got(64, -1);
  launch(reverse_in_shared_memory, dim3(1), dim3(64), 64 * sizeof(int), nullptr, got.data());
  EXPECT_EQ(got[0], 632);
}

__global__ void fail_from_block(unsigned first) {
  if (blockIdx.x >= first) throw std::runtime_error("from here on");
}

TEST(HostRuntime, FirstReportIsTheSameForAnyThreadCount) {
  for (const int thread_count : {1, 2, 5}) {
    const LaunchOptions options = {Order::kForward, 0, thread_count};
    const std::vector<Report> reports = launch_reported(fail_from_block, dim3(1000), dim3(2), 0, &options, 37u);
    ASSERT_FALSE(reports.empty());
    EXPECT_LE(reports.size(), static_cast<std::size_t>(thread_count));
    EXPECT_NE(reports[0].text.find("block (37, 0, 0)"), std::string::npos) << reports[0].text;
  }
}

__global__ void meet_other_blocks(std::atomic<int>* inside, int count, std::atomic<bool>* met) {
  ++*inside;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!*met && std::chrono::steady_clock::now() < give_up) {
    if (*inside == count) *met = true;
    std::this_thread::yield();
  }
  --*inside;
}

TEST(HostRuntime, BlocksRunOnAsManyThreadsAsAskedFor) {
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  const LaunchOptions options = {Order::kForward, 0, 3};
  launch(meet_other_blocks, dim3(3), dim3(1), 0, &options, &inside, 3, &met);
  EXPECT_TRUE(met);
}

__global__ void note_os_thread(std::thread::id* ids) {
  ids[blockIdx.x] = std::this_thread::get_id();
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(HostRuntime, BlocksRunOnNoMoreThreadsThanAskedForTheCallersAmongThem) {
  for (const int thread_count : {4, 2, 1}) {  // the pool has helpers for 4 from here on
    std::vector<std::thread::id> ids(100);
    const LaunchOptions options = {Order::kForward, 0, thread_count};
    launch(note_os_thread, dim3(100), dim3(1), 0, &options, ids.data());
    const std::set<std::thread::id> different(ids.begin(), ids.end());
    EXPECT_LE(different.size(), static_cast<std::size_t>(thread_count));
    EXPECT_EQ(different.count(std::this_thread::get_id()), 1u);
  }
}

TEST(HostRuntime, SeveralThreadsMayLaunchAtOnce) {
  constexpr unsigned kThreadsPerBlock = 64, kBlocks = 7;
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&wrong, caller] {
      const LaunchOptions options = {Order::kRandom, static_cast<std::uint64_t>(caller), 1 + caller % 3};
      for (int repeat = 0; repeat < 20; ++repeat) {
        std::vector<int> got(kThreadsPerBlock * kBlocks, -1);
        launch(reverse_in_shared_memory, dim3(kBlocks), dim3(kThreadsPerBlock), kThreadsPerBlock * sizeof(int),
               &options, got.data());
        for (unsigned i = 0; i < got.size(); ++i) {
          if (got[i] != static_cast<int>((kThreadsPerBlock - 1 - i % kThreadsPerBlock) * 10 + 2)) ++wrong;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

__global__ void do_nothing() {}

TEST(HostRuntime, ShapesThatNoGpuLaunchesAreErrors) {
  EXPECT_THROW(launch(do_nothing, dim3(0), dim3(1), 0, nullptr), Error);
  EXPECT_THROW(launch(do_nothing, dim3(1), dim3(0), 0, nullptr), Error);
  EXPECT_THROW(launch(do_nothing, dim3(1), dim3(1025), 0, nullptr), Error);
  EXPECT_THROW(launch(do_nothing, dim3(1), dim3(1, 1, 65), 0, nullptr), Error);
  EXPECT_THROW(launch(do_nothing, dim3(1, 65536), dim3(1), 0, nullptr), Error);
  EXPECT_THROW(launch(do_nothing, dim3(1), dim3(1), 227 * 1024 + 1, nullptr), Error);
  EXPECT_NO_THROW(launch(do_nothing, dim3(1), dim3(1024), 227 * 1024, nullptr));
}

__global__ void note_stack_address(std::uintptr_t* addresses) {
  addresses[threadIdx.x] = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  __syncthreads();
}

/// Permissions of the mapping that ends where the one around `address` begins ("rw-p", "---p"); empty if there is none.
std::string permissions_below(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  std::string line, permissions_before;
  std::uintptr_t end_before = 0;
  while (std::getline(maps, line)) {
    std::istringstream fields(line);
    std::uintptr_t begin = 0, end = 0;
    std::string permissions;
    fields >> std::hex >> begin;
    fields.ignore(1) >> end >> permissions;
    if (begin <= address && address < end) return end_before == begin ? permissions_before : "";
    end_before = end;
    permissions_before = permissions;
  }
  return "";
}

TEST(HostRuntime, BelowEveryStackLiesAPageThatNobodyMayTouch) {
  std::vector<std::uintptr_t> addresses(3, 0);
  launch(note_stack_address, dim3(1), dim3(3), 0, nullptr, addresses.data());
  for (const std::uintptr_t address : addresses) EXPECT_EQ(permissions_below(address), "---p");
}

__global__ void launch_again() { launch(do_nothing, dim3(1), dim3(1), 0, nullptr); }

TEST(HostRuntimeDeathTest, LaunchInsideAKernelIsAProgrammersMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(launch(launch_again, dim3(1), dim3(1), 0, nullptr), "must not launch");
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

// Named barriers: who waits for whom, and every way in which a count can be wrong.

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "gpu/simt/reports_test.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

/// A producer warp fills one of two buffers while the consumers read the other: full and empty barriers for each.
__global__ void produce_and_consume(int* sums, int rounds) {
  int(*const buffers)[32] = reinterpret_cast<int(*)[32]>(dynamic_smem());
  const int t = static_cast<int>(threadIdx.x), lane = t % 32, warp = t / 32;
  for (int round = 0; round < rounds; ++round) {
    const int stage = round % 2, full = 1 + stage, empty = 3 + stage;
    if (warp == 0) {
      if (round >= 2) barrier_sync(empty, 96);
      buffers[stage][lane] = round * 100 + lane;
      barrier_arrive(full, 96);
    } else {
      barrier_sync(full, 96);
      sums[t] += buffers[stage][(lane + 1) % 32];
      if (round + 2 < rounds) barrier_arrive(empty, 96);
    }
  }
}

TEST(NamedBarriers, ProducerAndConsumersKeepInStep) {
  for (const LaunchOptions& options : every_order()) {
    std::vector<int> sums(96, 0);
    launch(produce_and_consume, dim3(1), dim3(96), 256, &options, sums.data(), 7);
    for (int t = 32; t < 96; ++t) EXPECT_EQ(sums[static_cast<std::size_t>(t)], 2100 + 7 * ((t + 1) % 32));
  }
}

/// Two pairs of warps that use different barriers, one of them waiting long.
__global__ void meet_in_pairs(int* out) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  const int t = static_cast<int>(threadIdx.x), pair = t / 64;
  shared[t] = t;
  barrier_sync(5 + pair, 64);
  out[t] = shared[t ^ 32];
}

TEST(NamedBarriers, DifferentBarriersAreIndependent) {
  for (const LaunchOptions& options : every_order()) {
    std::vector<int> out(128, -1);
    launch(meet_in_pairs, dim3(1), dim3(128), 512, &options, out.data());
    for (int t = 0; t < 128; ++t) EXPECT_EQ(out[static_cast<std::size_t>(t)], t ^ 32);
  }
}

__global__ void sync_with(int id, int thread_count, int* line) {
  *line = __LINE__ + 1;
  barrier_sync(id, thread_count);
}

TEST(NamedBarriers, ImpossibleIdsAndCountsAreReported) {
  for (const auto& [id, count] :
       std::vector<std::pair<int, int>>{{0, 64}, {16, 64}, {-1, 64}, {1, 0}, {1, 33}, {1, 96}}) {
    int line = 0;
    const Report report = report_of(sync_with, dim3(64), id, count, &line);
    EXPECT_EQ(report.kind, ReportKind::kWrongNamedBarrier) << report.text;
    expect_names_line(report, line);
  }
}

TEST(NamedBarriers, ACountLargerThanThoseWhoComeIsADeadlock) {
  for (const LaunchOptions& options : every_order()) {
    int line = 0;
    const auto kernel = [](int* at) {
      *at = __LINE__ + 1;
      if (threadIdx.x < 32) barrier_sync(1, 64);
    };
    const std::vector<Report> reports = launch_reported(kernel, dim3(1), dim3(64), 0, &options, &line);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].kind, ReportKind::kDeadlock) << reports[0].text;
    expect_names_line(reports[0], line);
  }
}

__global__ void count_differently(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x < 32) {
    barrier_sync(2, 64);
  } else {
    barrier_arrive(2, 32);
  }
}

TEST(NamedBarriers, TwoCountsForOneBarrierAreReportedWithBothLines) {
  int line = 0;
  const Report report = report_of(count_differently, dim3(64), &line);
  EXPECT_EQ(report.kind, ReportKind::kWrongNamedBarrier) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 2);
}

__global__ void arrive_twice(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x < 32) {
    barrier_arrive(3, 64);
    barrier_arrive(3, 64);
  } else {
    barrier_sync(3, 64);
  }
}

TEST(NamedBarriers, AThreadThatComesTwiceInOneRoundIsReported) {
  int line = 0;
  const Report report = report_of(arrive_twice, dim3(64), &line);
  EXPECT_EQ(report.kind, ReportKind::kWrongNamedBarrier) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 1);
}

__global__ void arrive_for_nobody(int* line) {
  *line = __LINE__ + 1;
  if (threadIdx.x < 32) barrier_arrive(4, 64);
}

TEST(NamedBarriers, ARoundLeftHalfFullAtTheEndIsReported) {
  int line = 0;
  const Report report = report_of(arrive_for_nobody, dim3(64), &line);
  EXPECT_EQ(report.kind, ReportKind::kWrongNamedBarrier) << report.text;
  expect_names_line(report, line);
}

__global__ void half_at_each_kind(int* line) {
  *line = __LINE__ + 2;
  if (threadIdx.x < 32) {
    barrier_sync(1, 64);
  } else {
    __syncthreads();
  }
}

TEST(NamedBarriers, ThreadsAtANamedBarrierAndAtSyncthreadsAreADeadlockWithBothLines) {
  int line = 0;
  const Report report = report_of(half_at_each_kind, dim3(64), &line);
  EXPECT_EQ(report.kind, ReportKind::kDeadlock) << report.text;
  expect_names_line(report, line);
  expect_names_line(report, line + 2);
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

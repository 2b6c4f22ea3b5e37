#include "gpu/simt/atomics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gpu/simt/reports_test.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

constexpr unsigned kBlocks = 400, kThreads = 64, kAll = kBlocks * kThreads;

struct Cells {
  int count = 0, smallest = 1 << 30;
  unsigned largest = 0;
  unsigned long long big = 0;
  float whole = 0;
  double real = 0;
};

__global__ void add_to_all(Cells* cells, int* tickets) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  tickets[atomicAdd(&cells->count, 1)] += 1;
  atomicMin(&cells->smallest, static_cast<int>(i) - 100);
  atomicMax(&cells->largest, i);
  atomicAdd(&cells->big, 1ull << 33);
  atomicAdd(&cells->whole, 1.0f);
  atomicAdd(&cells->real, 0.5);
}

TEST(Atomics, NoUpdateIsLostBetweenBlocksOnSeveralOsThreads) {
  const LaunchOptions options = {Order::kRandom, 1, 4};
  Cells cells;
  std::vector<int> tickets(kAll, 0);
  launch(add_to_all, dim3(kBlocks), dim3(kThreads), 0, &options, &cells, tickets.data());
  EXPECT_EQ(cells.count, static_cast<int>(kAll));
  EXPECT_EQ(std::count(tickets.begin(), tickets.end(), 1), static_cast<std::ptrdiff_t>(kAll));
  EXPECT_EQ(cells.smallest, -100);
  EXPECT_EQ(cells.largest, kAll - 1);
  EXPECT_EQ(cells.big, (1ull << 33) * kAll);
  EXPECT_EQ(cells.whole, static_cast<float>(kAll));
  EXPECT_EQ(cells.real, 0.5 * kAll);
}

/// Two blocks on two OS threads call `update` until it has told one often enough that the other came between, or for a
/// second; returns the number of calls.
template <class Update>
int calls_side_by_side(const Update& update) {
  std::atomic<int> calls{0};
  std::atomic<bool> enough{false};
  const auto kernel = [&] {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    int own_calls = 0, met = 0;
    while (!enough && (own_calls % 256 != 0 || std::chrono::steady_clock::now() < give_up)) {
      met += update() ? 1 : 0;
      if (met == 2000) enough = true;
      ++own_calls;
    }
    calls += own_calls;
  };
  const LaunchOptions options = {Order::kForward, 0, 2};
  launch(kernel, dim3(2), dim3(1), 0, &options);
  return calls;
}

TEST(Atomics, UpdatesOfOneCellFromTwoOsThreadsAddUp) {
  int cell = 0;
  const int calls = calls_side_by_side([&] {
    const int first = atomicAdd(&cell, 1);
    return atomicAdd(&cell, 1) != first + 1;
  });
  EXPECT_EQ(cell, 2 * calls);
}

TEST(Atomics, CompareAndSwapTakesALockForOneBlockAtATime) {
  unsigned lock = 0;
  int sum = 0;
  const int calls = calls_side_by_side([&] {
    bool met = false;
    while (atomicCAS(&lock, 0u, 1u) != 0u) met = true;
    std::atomic_thread_fence(std::memory_order_acquire);
    ++sum;
    std::atomic_thread_fence(std::memory_order_release);
    atomicExch(&lock, 0u);
    return met;
  });
  EXPECT_EQ(sum, calls);
}

TEST(Atomics, EveryOneReturnsWhatWasThereBefore) {
  int i = 7;
  float f = 1.5f;
  unsigned long long u = 3;
  const auto kernel = [&] {
    EXPECT_EQ(atomicAdd(&i, 2), 7);
    EXPECT_EQ(atomicMax(&i, 20), 9);
    EXPECT_EQ(atomicMin(&i, 5), 20);
    EXPECT_EQ(atomicExch(&i, 6), 5);
    EXPECT_EQ(atomicCAS(&i, 5, 1), 6);
    EXPECT_EQ(atomicCAS(&i, 6, 1), 6);
    EXPECT_EQ(atomicExch(&f, 2.5f), 1.5f);
    EXPECT_EQ(atomicMax(&u, ~0ull), 3u);
  };
  launch(kernel, dim3(1), dim3(1), 0, nullptr);
  EXPECT_EQ(i, 1);
  EXPECT_EQ(f, 2.5f);
  EXPECT_EQ(u, ~0ull);
}

__global__ void add_at(unsigned char* address, int* line) {
  *line = __LINE__ + 1;
  atomicAdd(reinterpret_cast<int*>(address), 1);
}

TEST(Atomics, AMisalignedAddressIsReported) {
  alignas(8) unsigned char bytes[8] = {};
  int line = 0;
  const Report report = report_of(add_at, dim3(1), bytes + 2, &line);
  EXPECT_EQ(report.kind, ReportKind::kMisaligned) << report.text;
  expect_names_line(report, line);
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

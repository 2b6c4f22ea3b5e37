// cp.async: what a thread may rely on, and that nothing less than it is ever enough.

#include "gpu/simt/async_copies.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gpu/simt/reports_test.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

__device__ float* shared_floats() { return reinterpret_cast<float*>(dynamic_smem()); }

/// out[i]: the copy of group i right after the wait that leaves `groups - 1 - i` under way, for 3 groups of one copy.
__global__ void wait_for_one_group_after_the_other(const float* in, float* out, float* too_early) {
  float* const shared = shared_floats();
  for (int group = 0; group < 3; ++group) {
    cp_async_16(shared + 4 * group, in + 4 * group);
    cp_async_commit();
  }
  *too_early = shared[0];
  cp_async_wait<2>();
  out[0] = shared[0];
  too_early[1] = shared[4];
  cp_async_wait<1>();
  out[1] = shared[4];
  too_early[2] = shared[8];
  cp_async_wait<0>();
  out[2] = shared[8];
}

TEST(AsyncCopies, AGroupIsNanUntilItsWaitAndThereAfterwards) {
  alignas(16) const float in[12] = {1, 0, 0, 0, 2, 0, 0, 0, 3};
  std::array<float, 3> out, too_early;
  launch(wait_for_one_group_after_the_other, dim3(1), dim3(1), 256, nullptr, +in, out.data(), too_early.data());
  for (std::size_t group = 0; group < 3; ++group) {
    EXPECT_EQ(out[group], static_cast<float>(group + 1));
    EXPECT_TRUE(std::isnan(too_early[group])) << group;
  }
}

__global__ void copy_over_what_was_there(const float* in, float* out) {
  float* const shared = shared_floats();
  shared[0] = 5;
  cp_async_4(shared, in);
  out[0] = shared[0];
  cp_async_commit();
  cp_async_wait<0>();
  out[1] = shared[0];
}

TEST(AsyncCopies, WhatStoodAtTheDestinationIsGoneAtOnce) {
  const float in = 8;
  std::array<float, 2> out;
  launch(copy_over_what_was_there, dim3(1), dim3(1), 256, nullptr, &in, out.data());
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 8.0f);
}

__global__ void wait_without_commit(const float* in, float* out) {
  cp_async_4(shared_floats(), in);
  cp_async_wait<0>();
  *out = *shared_floats();
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(AsyncCopies, AWaitDoesNothingForACopyThatWasNotCommitted) {
  const float in = 8;
  float out = 0;
  launch(wait_without_commit, dim3(1), dim3(1), 256, nullptr, &in, &out);
  EXPECT_TRUE(std::isnan(out));
}

__global__ void count_empty_groups(const float* in, float* out) {
  cp_async_4(shared_floats(), in);
  cp_async_commit();
  cp_async_commit();  // an empty group
  cp_async_wait<1>();
  *out = *shared_floats();
}

TEST(AsyncCopies, AnEmptyGroupCountsAsOne) {
  const float in = 8;
  float out = 0;
  launch(count_empty_groups, dim3(1), dim3(1), 256, nullptr, &in, &out);
  EXPECT_EQ(out, 8.0f);
}

/// Each thread copies one float and reads its neighbour's, waiting for its own copy only.
__global__ void read_the_neighbours_copy(const float* in, float* out, bool with_barrier) {
  const int t = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  cp_async_4(shared_floats() + t, in + t);
  cp_async_commit();
  cp_async_wait<0>();
  if (with_barrier) __syncthreads();
  out[t] = shared_floats()[(t + 1) % n];
}

TEST(AsyncCopies, AThreadsWaitSaysNothingAboutAnotherThreadsCopies) {
  std::vector<float> in(64), out(64);
  for (std::size_t i = 0; i < 64; ++i) in[i] = static_cast<float>(i);
  const LaunchOptions forward = {Order::kForward, 0, 1};
  launch(read_the_neighbours_copy, dim3(1), dim3(64), 256, &forward, in.data(), out.data(), false);
  EXPECT_TRUE(std::isnan(out[0]));
  launch(read_the_neighbours_copy, dim3(1), dim3(64), 256, &forward, in.data(), out.data(), true);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i], in[(i + 1) % 64]);
}

__global__ void change_the_source_before_the_wait(float* in, float* out) {
  cp_async_4(shared_floats(), in);
  cp_async_commit();
  *in = 9;
  cp_async_wait<0>();
  *out = *shared_floats();
}

TEST(AsyncCopies, TheSourceIsReadAsLateAsItMayBe) {
  float in = 8, out = 0;
  launch(change_the_source_before_the_wait, dim3(1), dim3(1), 256, nullptr, &in, &out);
  EXPECT_EQ(out, 9.0f);
}

__global__ void copy_nothing_from_nowhere(float* out) {
  cp_async_16(shared_floats(), nullptr, false);
  cp_async_8(shared_floats() + 4, reinterpret_cast<const void*>(std::uintptr_t{1}), false);
  cp_async_commit();
  cp_async_wait<0>();
  for (int i = 0; i < 6; ++i) out[i] = shared_floats()[i];
}

TEST(AsyncCopies, ACopyThatTakesNothingWritesZerosAndNeverReads) {
  std::vector<float> out(6, 1);
  launch(copy_nothing_from_nowhere, dim3(1), dim3(1), 256, nullptr, out.data());
  for (const float x : out) EXPECT_EQ(x, 0.0f);
}

__global__ void return_with_a_copy_under_way(const float* in, int* line) {
  *line = __LINE__ + 1;
  cp_async_4(shared_floats(), in);
  cp_async_commit();
  cp_async_wait<1>();
}

TEST(AsyncCopies, AThreadThatReturnsBeforeItsCopiesLandedIsReported) {
  const float in = 8;
  int line = 0;
  const Report report = report_of(return_with_a_copy_under_way, dim3(1), &in, &line);
  EXPECT_EQ(report.kind, ReportKind::kUnwaitedCopy) << report.text;
  expect_names_line(report, line);
}

__global__ void copy_to(int offset_bytes, const unsigned char* in, int* line) {
  *line = __LINE__ + 1;
  cp_async_16(dynamic_smem() + offset_bytes, in);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(AsyncCopies, WrongAddressesAreReported) {
  alignas(16) const unsigned char in[32] = {};
  int line = 0;
  const auto kind_at = [&](int offset_bytes, const unsigned char* source) {
    const Report report = report_of(copy_to, dim3(1), offset_bytes, source, &line);
    expect_names_line(report, line);
    return report.kind;
  };
  EXPECT_EQ(kind_at(8, in), ReportKind::kMisaligned);
  EXPECT_EQ(kind_at(0, in + 4), ReportKind::kMisaligned);
  EXPECT_EQ(kind_at(256, in), ReportKind::kOutsideShared);
  EXPECT_EQ(kind_at(-16, in), ReportKind::kOutsideShared);
  EXPECT_TRUE(launch_reported(copy_to, dim3(1), dim3(1), 256, nullptr, 240, +in, &line).empty());
  EXPECT_FALSE(launch_reported(copy_to, dim3(1), dim3(1), 255, nullptr, 240, +in, &line).empty());
}

__global__ void load_matrix_from(int offset_bytes, int lane_off, int* line) {
  const int lane = static_cast<int>(threadIdx.x);
  std::uint32_t r[2];
  *line = __LINE__ + 1;
  ldmatrix_x2(r, dynamic_smem() + lane % 16 * 16 + (lane == lane_off ? offset_bytes : 0));
}

TEST(Ldmatrix, WrongRowAddressesAreReportedWhereTheyCount) {
  int line = 0;
  const auto kind_at = [&](int offset_bytes, int lane) {
    const Report report = report_of(load_matrix_from, dim3(32), offset_bytes, lane, &line);
    expect_names_line(report, line);
    return report.kind;
  };
  EXPECT_EQ(kind_at(8, 3), ReportKind::kMisaligned);
  EXPECT_EQ(kind_at(256, 0), ReportKind::kOutsideShared);
  EXPECT_EQ(kind_at(16, 15), ReportKind::kOutsideShared);
  // The addresses of lanes 16 to 31 of an x2 are not read.
  EXPECT_TRUE(launch_reported(load_matrix_from, dim3(1), dim3(32), 256, nullptr, 8, 20, &line).empty());
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

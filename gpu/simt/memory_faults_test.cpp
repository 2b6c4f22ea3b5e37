// Faults that the host runtime leaves to the sanitizers, because its memory is exact host memory: each must stop the
// process with their report. Built into the sanitized tests only.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

template <class Kernel, class... Args>
void expect_stops_with(const char* report, const Kernel& kernel, std::size_t smem_bytes, const Args&... args) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(launch(kernel, dim3(2), dim3(64), smem_bytes, nullptr, args...), report);
}

__global__ void write_past_shared_memory() { reinterpret_cast<float*>(dynamic_smem())[threadIdx.x + 1] = 1; }
__global__ void read_before_shared_memory(float* out) {
  out[threadIdx.x] = reinterpret_cast<float*>(dynamic_smem())[static_cast<int>(threadIdx.x) - 1];
}

TEST(MemoryFaultsDeathTest, SharedMemoryEndsWhereTheLaunchSaid) {
  std::vector<float> out(64);
  expect_stops_with("heap-buffer-overflow", write_past_shared_memory, 64 * sizeof(float));
  expect_stops_with("heap-buffer-overflow", read_before_shared_memory, 64 * sizeof(float), out.data());
}

__global__ void write_every_index(float* out) { out[blockIdx.x * blockDim.x + threadIdx.x] = 1; }
__global__ void read_as_float4(const float* in, float* out) {
  out[threadIdx.x] = reinterpret_cast<const float4*>(in)[threadIdx.x].w;
}

TEST(MemoryFaultsDeathTest, GlobalMemoryEndsWhereItsBufferDoes) {
  std::vector<float> out(127);
  expect_stops_with("heap-buffer-overflow", write_every_index, 0, out.data());
  alignas(16) static float in[64 * 4 - 4];
  expect_stops_with("global-buffer-overflow", read_as_float4, 0, +in, out.data());
}

__global__ void copy_past_the_end(const float* in, int count) {
  const bool take = static_cast<int>(threadIdx.x) * 4 < count;
  cp_async_16(dynamic_smem() + 16 * threadIdx.x, in + 4 * threadIdx.x, take);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(MemoryFaultsDeathTest, AsyncCopiesReadWithinTheirSource) {
  alignas(16) static float in[40];
  expect_stops_with("global-buffer-overflow", copy_past_the_end, 1024, +in, 44);
  launch(copy_past_the_end, dim3(2), dim3(64), 1024, nullptr, +in, 40);
}

struct Tile {
  float a[4], b[4];
};

__global__ void index_past_an_array(float* out, int i) {
  Tile& tile = *reinterpret_cast<Tile*>(dynamic_smem());
  tile.a[i] = 1;
  out[threadIdx.x] = tile.b[0];
}

__global__ void index_past_a_local_array(float* out, int i) {
  volatile float local[4] = {};
  local[i] = 1;
  out[threadIdx.x] = local[0];
}

__global__ void shift_too_far(int* out) { out[threadIdx.x] = 1 << threadIdx.x; }

__global__ void load_misaligned(const unsigned char* in, float* out) {
  out[threadIdx.x] = reinterpret_cast<const float4*>(in + 4)->x;
}

TEST(MemoryFaultsDeathTest, UndefinedBehaviourStops) {
  std::vector<float> out(64);
  std::vector<int> shifted(64);
  alignas(16) static unsigned char in[64];
  expect_stops_with("index 4 out of bounds", index_past_an_array, sizeof(Tile), out.data(), 4);
  expect_stops_with("index 4 out of bounds|stack-buffer-overflow", index_past_a_local_array, 0, out.data(), 4);
  expect_stops_with("shift exponent 32", shift_too_far, 0, shifted.data());
  expect_stops_with("misaligned address", load_misaligned, 0, +in, out.data());
}

__global__ void recurse(int depth, volatile int* out) {
  volatile char frame[4096] = {};
  if (depth > 0) recurse(depth - 1, out);
  *out = frame[depth % 4096];
}

TEST(MemoryFaultsDeathTest, AStackThatOverflowsStops) {
  int out = 0;
  expect_stops_with("stack-overflow", recurse, 0, 100, static_cast<volatile int*>(&out));
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

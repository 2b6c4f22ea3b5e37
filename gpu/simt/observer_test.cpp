// What an observer is told, in order, for a kernel that does each thing once; and that an ignored synchronisation is
// neither done nor told.

#include "gpu/simt/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gpu/simt/reports_test.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

/// Writes down every call, for one OS thread; of what every thread does, only what thread 0 does.
struct Recorder : Observer {
  std::vector<std::string> calls;
  const void* global = nullptr;

  void note(const std::string& text) { calls.push_back(text); }
  static std::string at(const Site& site) { return ":" + std::to_string(site.line); }

  void block_started(const BlockFacts& facts) override {
    note("start " + std::to_string(facts.number) + ", " + std::to_string(facts.thread_count) + " threads, " +
         std::to_string(facts.shared_bytes) + " bytes");
  }
  void block_ended() override { note("end"); }
  void barrier_released(const Site& site) override { note("barrier" + at(site)); }
  void warp_synced(int warp, std::uint32_t mask, const Site& site) override {
    note("synced " + std::to_string(warp) + " " + std::to_string(mask) + at(site));
  }
  void warp_exchanged(int warp, std::uint32_t mask, const Site& site) override {
    note("exchanged " + std::to_string(warp) + " " + std::to_string(mask) + at(site));
  }
  void named_barrier_reached(int thread, int id, bool waits, const Site& site) override {
    if (thread % 32 == 0) {
      note("thread " + std::to_string(thread) + (waits ? " syncs " : " arrives ") + std::to_string(id) + at(site));
    }
  }
  void named_barrier_released(int id, std::span<const int> waiting) override {
    note("released " + std::to_string(id) + ", " + std::to_string(waiting.size()) + " from " +
         std::to_string(*std::min_element(waiting.begin(), waiting.end())));
  }
  void accessed(int thread, const void*, std::size_t bytes, Access access, const Site& site) override {
    EXPECT_EQ(thread, thread_number());
    if (thread != 0) return;
    note((access == Access::kRead    ? "read "
          : access == Access::kWrite ? "write "
                                     : "atomic ") +
         std::to_string(bytes) + at(site));
  }
  void copy_started(int thread, const AsyncCopy& copy) override {
    if (thread != 0) return;
    EXPECT_EQ(copy.global, global);
    note("copy " + std::to_string(copy.bytes) + at(copy.site));
  }
  void copies_committed(int thread, const Site& site) override {
    if (thread == 0) note("commit" + at(site));
  }
  void copies_waited(int thread, int groups_left, const Site& site) override {
    if (thread == 0) note("wait " + std::to_string(groups_left) + at(site));
  }
  void copy_landed(int thread, const AsyncCopy& copy) override {
    if (thread != 0) return;
    float value;
    std::memcpy(&value, copy.shared, sizeof(value));
    note("landed " + std::to_string(value) + at(copy.site));
  }
};

constexpr int kFirstLine = __LINE__ + 2;
__global__ void do_each_thing_once(const float* in, int* sum) {
  cp_async_4(dynamic_smem() + 4 * threadIdx.x, in);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  if (threadIdx.x < 16) __syncwarp(0xffffu);
  __shfl_sync(~0u, 1, 0);
  atomicAdd(sum, 1);
  threadIdx.x < 32 ? barrier_arrive(3, 64) : barrier_sync(3, 64);
  std::uint32_t r[2];
  if (threadIdx.x < 32) ldmatrix_x2(r, dynamic_smem());
}

std::string line(int offset) { return ":" + std::to_string(kFirstLine + offset); }

TEST(ObserverTest, HearsOfEachThingInOrder) {
  const float in = 2.5f;
  int sum = 0;
  Recorder recorder;
  recorder.global = &in;
  LaunchOptions options = {Order::kForward, 0, 1};
  options.observer = &recorder;
  launch(do_each_thing_once, dim3(1, 1, 1), dim3(64), 256, &options, &in, &sum);
  const std::vector<std::string> want = {
      "start 0, 64 threads, 256 bytes",
      "copy 4" + line(0),
      "commit" + line(1),
      "wait 0" + line(2),
      "landed 2.500000" + line(0),
      "barrier" + line(3),
      "synced 0 65535" + line(4),
      "exchanged 0 4294967295" + line(5),
      "atomic 4" + line(6),
      "thread 0 arrives 3" + line(7),
      "read 16" + line(9),
  };
  ASSERT_GE(recorder.calls.size(), want.size());
  std::vector<std::string> of_thread_0;  // those of the other warps lie between
  for (const std::string& call : recorder.calls) {
    if (of_thread_0.size() < want.size() && call == want[of_thread_0.size()]) of_thread_0.push_back(call);
  }
  EXPECT_EQ(of_thread_0, want);
  const auto told = [&](const std::string& call) {
    return std::count(recorder.calls.begin(), recorder.calls.end(), call);
  };
  EXPECT_EQ(told("synced 1 65535" + line(4)), 0);
  EXPECT_EQ(told("exchanged 1 4294967295" + line(5)), 1);
  EXPECT_EQ(told("thread 32 syncs 3" + line(7)), 1);
  EXPECT_EQ(told("released 3, 32 from 32"), 1);
  EXPECT_EQ(told("exchanged 0 4294967295" + line(9)), 1);
  EXPECT_EQ(told("end"), 1);
}

__global__ void stop_in_the_middle() {
  if (threadIdx.x == 3) throw 1;
  __syncthreads();
}

TEST(ObserverTest, HearsOfTheEndOfAStoppedBlock) {
  Recorder recorder;
  LaunchOptions options = {Order::kForward, 0, 1};
  options.observer = &recorder;
  EXPECT_FALSE(launch_reported(stop_in_the_middle, dim3(5), dim3(32), 0, &options).empty());
  EXPECT_EQ(recorder.calls, (std::vector<std::string>{"start 0, 32 threads, 0 bytes", "end"}));
}

__global__ void number_blocks() {}

TEST(ObserverTest, NumbersBlocksAlongXThenYThenZ) {
  Recorder recorder;
  LaunchOptions options = {Order::kForward, 0, 1};
  options.observer = &recorder;
  launch(number_blocks, dim3(2, 3, 2), dim3(1), 0, &options);
  ASSERT_EQ(recorder.calls.size(), 24u);
  EXPECT_EQ(recorder.calls[22], "start 11, 1 threads, 0 bytes");
}

// One synchronisation of each kind, on the line `kSyncLine` + 4 kind; each is all that orders what is around it.
enum class Kind { kSyncthreads, kSyncwarp, kWait, kNamed };
constexpr int kSyncLine = __LINE__ + 6;
__global__ void depend_on_one(Kind kind, const float* in, float* out) {
  float* const shared = reinterpret_cast<float*>(dynamic_smem());
  const unsigned t = threadIdx.x;
  if (kind != Kind::kWait) shared[t] = 1;
  if (kind == Kind::kWait) cp_async_4(shared + (t + 1) % 32, in);
  if (kind == Kind::kSyncthreads) __syncthreads();
  if (kind == Kind::kSyncwarp) __syncwarp();
  if (kind == Kind::kWait) cp_async_commit();
  if (kind == Kind::kWait) cp_async_wait<0>();
  if (kind == Kind::kNamed) barrier_sync(1, 32);
  out[t] = shared[(t + 1) % 32];
  if (kind == Kind::kWait) cp_async_wait<0>();
}

TEST(IgnoredSync, IsPassedAsIfItWereNotThereAndNotTold) {
  const float in = 1;
  for (const auto& [kind, offset] : std::vector<std::pair<Kind, int>>{
           {Kind::kSyncthreads, 0}, {Kind::kSyncwarp, 1}, {Kind::kWait, 3}, {Kind::kNamed, 4}}) {
    for (const bool ignored : {false, true}) {
      std::vector<float> out(32, -1);
      Recorder recorder;
      recorder.global = &in;
      LaunchOptions options = {Order::kForward, 0, 1};
      options.observer = &recorder;
      if (ignored) options.ignored_sync = {"elsewhere/observer_test.cpp", kSyncLine + offset};
      launch(depend_on_one, dim3(1), dim3(32), 256, &options, kind, &in, out.data());
      EXPECT_EQ(std::isnan(out[0]), ignored) << "line " << kSyncLine + offset;
      int told = 0;
      for (const std::string& call : recorder.calls) {
        if (call.ends_with(":" + std::to_string(kSyncLine + offset))) ++told;
      }
      EXPECT_EQ(told > 0, !ignored) << "line " << kSyncLine + offset;
    }
  }
}

TEST(IgnoredSync, NamesOneFile) {
  const float in = 1;
  std::vector<float> out(32, -1);
  LaunchOptions options = {Order::kForward, 0, 1};
  options.ignored_sync = {"another_test.cpp", kSyncLine};
  launch(depend_on_one, dim3(1), dim3(32), 256, &options, Kind::kSyncthreads, &in, out.data());
  EXPECT_EQ(out[0], 1.0f);
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND

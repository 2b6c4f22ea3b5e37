// What becomes of a kernel's synchronisations when they are dropped in turn. Instrumented, as the kernels are.

#include "gpu/racecheck/check.h"

#include <gtest/gtest.h>

#include "gpu/racecheck/instrumentation.h"
#include "gpu/simt/simt.h"

namespace ringproof::racecheck {
namespace {

using namespace simt::api;

template <class Kernel, class... Args>
Check check_of(const Kernel& kernel, const Args&... args) {
  std::vector<int> memory(256);
  const Workload workload{"a launch", [&](Watcher&, LaunchOptions& options) {
                            launch(kernel, dim3(2), dim3(64), 1024, &options, memory.data(), args...);
                          }};
  return check({&workload, 1});
}

__global__ void waits_as_it_must(int* out) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = 1;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x ^ 32];
}

TEST(Check, FindsASynchronisationNeeded) {
  const Check check = check_of(waits_as_it_must);
  ASSERT_EQ(check.syncs.size(), 1u);
  EXPECT_TRUE(check.syncs[0].is_needed);
  EXPECT_EQ(check.syncs[0].line.kind, SyncKind::kSyncthreads);
  EXPECT_TRUE(check.is_clean());
}

__global__ void waits_too_often(int* out) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = 1;
  __syncwarp();
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x ^ 32];
}

TEST(Check, IsNotContentWithANeedlessSynchronisation) {
  const Check check = check_of(waits_too_often);
  ASSERT_EQ(check.syncs.size(), 2u);
  EXPECT_FALSE(check.syncs[0].is_needed);
  EXPECT_EQ(check.syncs[0].reason, "");
  EXPECT_TRUE(check.syncs[1].is_needed);
  EXPECT_TRUE(check.faults.empty());
  EXPECT_FALSE(check.is_clean());
}

__global__ void says_why_it_waits(int* out) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = 1;
  __syncwarp();  // redundant: the barrier below orders the lanes as well
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x ^ 32];
}

TEST(Check, ReadsTheReasonOfANeedlessOneAtItsLine) {
  const Check check = check_of(says_why_it_waits);
  ASSERT_EQ(check.syncs.size(), 2u);
  EXPECT_EQ(check.syncs[0].reason, "the barrier below orders the lanes as well");
  EXPECT_TRUE(check.is_clean());
}

__global__ void races(int* out) {
  out[0] = static_cast<int>(threadIdx.x);
  __syncthreads();
}

TEST(Check, DropsNothingWhereThereIsARace) {
  const Check check = check_of(races);
  EXPECT_FALSE(check.faults.empty());
  EXPECT_TRUE(check.syncs.empty());
  EXPECT_EQ(check.seen.size(), 1u);
  EXPECT_FALSE(check.is_clean());
}

__global__ void leaves_before_the_barrier(int* out) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

TEST(Check, PassesOnWhatTheRuntimeReports) {
  const Check check = check_of(leaves_before_the_barrier);
  ASSERT_FALSE(check.faults.empty());
  EXPECT_NE(check.faults[0].find("barrier"), std::string::npos) << check.faults[0];
}

__device__ inline int loaded(const int* from) { return *from; }

constexpr int kCallerLine = __LINE__ + 5;
__global__ void races_in_a_function(int* out) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = 1;
  __syncwarp();
  out[blockIdx.x * blockDim.x + threadIdx.x] = loaded(&shared[threadIdx.x ^ 32]);
}

TEST(Check, NamesTheCallerOfAFunctionThatRaces) {
  const Check check = check_of(races_in_a_function);
  const std::string caller = "check_test.cpp:" + std::to_string(kCallerLine);
  bool is_named = false;
  for (const std::string& fault : check.faults) is_named = is_named || fault.find(caller) != std::string::npos;
  EXPECT_TRUE(is_named) << caller << " in: " << (check.faults.empty() ? "" : check.faults[0]);
}

// What the kernel's own code does is told; the runtime and the code around the launch are not.
TEST(Check, LooksAtKernelsOnly) {
  Places places;
  Watcher watcher(places);
  tell_accesses_to(&watcher);
  std::vector<int> outside(64, 1);
  outside[3] = outside[5];
  tell_accesses_to(nullptr);
  EXPECT_EQ(watcher.accesses(), 0u);
}

}  // namespace
}  // namespace ringproof::racecheck

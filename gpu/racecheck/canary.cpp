// Neighbours swap values through shared memory: a race in one line, unless a barrier lies between.

#include "gpu/racecheck/canary.h"

#include <array>
#include <vector>

#include "gpu/racecheck/canary_twin.h"
#include "gpu/racecheck/instrumentation.h"
#include "gpu/simt/simt.h"

namespace ringproof::racecheck {
namespace {

using namespace simt::api;

constexpr int kThreads = 64;
constexpr int kWriteLine = __LINE__ + 3, kReadLine = kWriteLine + 2;
__global__ void swap_with_neighbour(int* out, bool waits) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (waits) __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 32];
}

constexpr int kTwinWriteLine = __LINE__ + 3;
__global__ void swap_by_twin(int* out, bool waits) {
  int* const shared = reinterpret_cast<int*>(dynamic_smem());
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (waits) __syncthreads();
  out[threadIdx.x] = value_behind(&shared[threadIdx.x ^ 32]);
}

/// What the checker finds, one line each.
std::vector<std::string> findings(bool waits, bool calls_twin) {
  std::array<int, kThreads> out{};
  // The uninstrumented copy of the twin is in the program because this needs it.
  out[0] = uninstrumented_value_behind(out.data());
  Places places;
  Watcher watcher(places);
  LaunchOptions options;
  options.thread_count = 1;
  options.observer = &watcher;
  tell_accesses_to(&watcher);
  launch(calls_twin ? swap_by_twin : swap_with_neighbour, dim3(1), dim3(kThreads), kThreads * sizeof(int), &options,
         out.data(), waits);
  tell_accesses_to(nullptr);
  std::vector<std::string> texts;
  for (const Finding& finding : watcher.findings()) texts.push_back(to_string(finding, places));
  return texts;
}

bool names(const std::vector<std::string>& texts, const std::string& part) {
  for (const std::string& text : texts) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::string canary_failure() {
  for (const bool calls_twin : {false, true}) {
    const std::vector<std::string> racy = findings(false, calls_twin);
    const std::string what =
        calls_twin ? "the canary's race in a function shared with other code" : "the canary's race";
    if (racy.empty()) return what + " is not seen: this program's kernels are not instrumented";
    const std::string read = calls_twin ? "canary_twin.h:" : "canary.cpp:" + std::to_string(kReadLine);
    const std::string write = "canary.cpp:" + std::to_string(calls_twin ? kTwinWriteLine : kWriteLine);
    if (!names(racy, read) || !names(racy, write)) {
      return what + " is seen, but not as one of " + write + " and " + read + ": " + racy.front();
    }
    const std::vector<std::string> mended = findings(true, calls_twin);
    if (!mended.empty()) return "the canary without a race is taken for one: " + mended.front();
  }
  return "";
}

}  // namespace ringproof::racecheck

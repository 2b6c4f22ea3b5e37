// The one place of this folder that puts local steps, the ring and a transport together: written out, nothing
// registers itself.

#include "distributed/candidates.h"

#include "distributed/communicator_threads.h"
#include "distributed/double_step.h"
#include "distributed/naive_ring.h"
#include "distributed/ring_candidate.h"
#include "distributed/simulated_ranks.h"
#include "gpu/candidates.h"

namespace ringproof {
namespace {

// partial_attention reads the slots a row sees and no other, and merges take over or weigh whole rows.
constexpr std::uint32_t kClaimsOfDouble = kNanSafeUnseen | kNanSafeHidden;

RingComposition composition(const LocalStep& step, std::uint32_t claims) {
  return {"ring:" + step.name, step, claims, ring_forward, {}, threads_launcher()};
}

// What the kernel of that name claims by itself; a ring keeps these two, which concern its reads alone.
std::uint32_t nan_claims_of_kernel(const std::string& name) {
  for (const Candidate& kernel : gpu_candidates()) {
    if (kernel.name != name) continue;
    return kernel.describe(Dtype::kDefault, Direction::kForward).features & (kNanSafeUnseen | kNanSafeHidden);
  }
  return 0;
}

}  // namespace

std::vector<RingComposition> ring_compositions() {
  std::vector<RingComposition> compositions{composition(double_step(), kClaimsOfDouble)};
  for (const LocalStep& step : gpu_local_steps()) {
    compositions.push_back(composition(step, nan_claims_of_kernel(step.name)));
  }
  return compositions;
}

std::vector<RingComposition> device_ring_compositions() {
  std::vector<RingComposition> compositions;
  for (const LocalStep& step : gpu_local_steps_on_cuda()) {
    compositions.push_back(composition(step, nan_claims_of_kernel(step.name)));
  }
  return compositions;
}

std::vector<Candidate> device_ring_candidates() {
  std::vector<Candidate> candidates;
  for (const RingComposition& one : device_ring_compositions()) {
    candidates.push_back(ring_candidate(one));
    candidates.back().not_run_reason = "its ranks are processes with a GPU each; start it with --transport nccl";
  }
  return candidates;
}

std::vector<Candidate> distributed_candidates() {
  std::vector<Candidate> candidates;
  for (const RingComposition& one : ring_compositions()) candidates.push_back(ring_candidate(one));
  return candidates;
}

Candidate naive_ring() { return naive_ring_candidate(threads_launcher()); }

Candidate simulated(const Candidate& candidate, std::uint64_t seed, std::chrono::milliseconds deadline) {
  if (candidate.name == "naive_ring") return on_simulated_ranks(naive_ring_candidate, seed, deadline);
  for (const RingComposition& one : ring_compositions()) {
    if (one.name != candidate.name) continue;
    const auto make = [one](const Launcher& launcher) {
      RingComposition moved = one;
      moved.launcher = launcher;
      return ring_candidate(moved);
    };
    return on_simulated_ranks(make, seed, deadline);
  }
  return candidate;
}

}  // namespace ringproof

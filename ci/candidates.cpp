#include "ci/candidates.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "distributed/candidates.h"
#include "gpu/candidates.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Wrong on purpose.
bool runs_only_when_named(const Candidate& candidate) {
  return candidate.name.starts_with("canary") || candidate.name == "naive_ring";
}

}  // namespace

std::vector<Candidate> all_candidates() {
  std::vector<Candidate> candidates = gpu_candidates();
  for (Candidate& candidate : distributed_candidates()) candidates.push_back(std::move(candidate));
  for (Candidate& candidate : device_ring_candidates()) candidates.push_back(std::move(candidate));
  candidates.push_back(naive_ring());
  candidates.push_back(canary());
  candidates.push_back(restless_canary());
  return candidates;
}

std::vector<Candidate> choose_candidates(std::span<const std::string> names) {
  std::vector<Candidate> all = all_candidates();
  if (names.empty()) {
    std::erase_if(all, [](const Candidate& candidate) { return runs_only_when_named(candidate); });
    return all;
  }
  std::vector<Candidate> chosen;
  for (const std::string& name : names) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Candidate& c) { return c.name == name; });
    if (found == all.end()) {
      if (name.ends_with(".so")) {
        throw InputError("there is no candidate '" + name + "'; a plug-in is named by its path: ./" + name);
      }
      std::string known;
      for (const Candidate& candidate : all) known += (known.empty() ? "" : ", ") + candidate.name;
      throw InputError("there is no candidate '" + name + "'; there are " + known);
    }
    const bool named_before =
        std::any_of(chosen.begin(), chosen.end(), [&](const Candidate& c) { return c.name == name; });
    if (!named_before) chosen.push_back(*found);
  }
  return chosen;
}

Candidate canary() {
  Candidate candidate = gpu_candidates().front();
  const Forward correct = candidate.forward;
  candidate.name = "canary";
  candidate.forward = [correct](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                const TensorView& out, const TensorView* lse, void* stream) {
    const Status status = correct(problem, q, k, v, out, lse, stream);
    const Shape& shape = out.shape;
    if (status != Status::kOk || element_count(shape) == 0) return status;
    const double last = out.load(shape[0] - 1, shape[1] - 1, shape[2] - 1, shape[3] - 1);
    out.store(shape[0] - 1, shape[1] - 1, shape[2] - 1, shape[3] - 1, last + 0.0625);
    return status;
  };
  return candidate;
}

Candidate restless_canary() {
  Candidate candidate = gpu_candidates().front();
  candidate.name = "canary:restless";
  const auto calls = std::make_shared<std::atomic<int>>(0);
  candidate.forward = [calls, correct = candidate.forward](const Problem& problem, const TensorView& q,
                                                           const TensorView& k, const TensorView& v,
                                                           const TensorView& out, const TensorView* lse, void* stream) {
    const Status status = correct(problem, q, k, v, out, lse, stream);
    if (status != Status::kOk || element_count(out.shape) == 0 || calls->fetch_add(1) % 2 == 0) return status;
    const auto first = static_cast<float>(out.load(0, 0, 0, 0));
    out.store(0, 0, 0, 0, std::nextafter(first, 2 * first));
    return status;
  };
  return candidate;
}

}  // namespace ringproof

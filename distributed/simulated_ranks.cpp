// Races are collected while a call runs and asked for when it has returned. A call that fails as well is no rejection,
// since nothing came back; then its races stand beside the failure.

#include "distributed/simulated_ranks.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "distributed/communicator_simulated.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::size_t kRacesNamed = 3;

struct Calls {
  std::uint64_t count = 0;
  std::vector<Race> races;  // of the latest one
};

std::vector<std::string> named(const std::vector<Race>& races) {
  std::vector<std::string> sentences;
  for (std::size_t at = 0; at < races.size() && at < kRacesNamed; ++at) {
    sentences.push_back("a race: " + to_string(races[at]));
  }
  const std::size_t more = races.size() - sentences.size();
  if (more > 0) sentences.push_back(std::to_string(more) + " more races");
  return sentences;
}

}  // namespace

Candidate on_simulated_ranks(const RanksCandidate& make, std::uint64_t seed, std::chrono::milliseconds deadline) {
  const auto calls = std::make_shared<Calls>();
  Candidate candidate = make([=](int rank_count, const std::function<void(Communicator&)>& body) {
    const std::uint64_t order = 0x9e3779b97f4a7c15u * ++calls->count + seed;
    SimulatedReport report = simulate(rank_count, {order, deadline}, body);
    calls->races = std::move(report.races);
    if (report.failure.empty()) return;
    for (const std::string& race : named(calls->races)) report.failure += "; " + race;
    throw Error(report.failure);
  });
  candidate.structure_faults = [calls] { return named(std::exchange(calls->races, {})); };
  return candidate;
}

}  // namespace ringproof

#pragma once

// Candidates of one lambda, for tests of run(): what a call meets, and what it may do to be caught.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "reference/judge/run.h"

namespace ringproof {

using Body = std::function<void(const Problem&, const TensorView& q, const TensorView& k, const TensorView& v,
                                const TensorView& out, const TensorView* lse)>;

inline void for_each_element(const TensorView& view,
                             const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& work) {
  for (std::int64_t b = 0; b < view.shape[0]; ++b) {
    for (std::int64_t h = 0; h < view.shape[1]; ++h) {
      for (std::int64_t s = 0; s < view.shape[2]; ++s) {
        for (std::int64_t d = 0; d < view.shape[3]; ++d) work(b, h, s, d);
      }
    }
  }
}

inline void fill(const TensorView& view, double value) {
  for_each_element(view, [&](auto b, auto h, auto s, auto d) { view.store(b, h, s, d, value); });
}

inline void write_all(const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView& out,
                      const TensorView* lse) {
  fill(out, 1);
  if (lse) fill(*lse, 2);
}

inline Description everything() {
  Description description;
  description.dtypes = description.masks = description.features = description.schedules = ~0u;
  description.features &= ~static_cast<std::uint32_t>(kWantsBshd | kWantsDeviceMemory);
  return description;
}

inline Candidate candidate_of(const Body& body, const Description& description = everything()) {
  Candidate candidate;
  candidate.name = "test";
  candidate.describe = [description](Dtype, Direction) { return description; };
  candidate.forward = [body](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                             const TensorView& out, const TensorView* lse, void*) {
    body(problem, q, k, v, out, lse);
    return Status::kOk;
  };
  return candidate;
}

inline Reference reference_of(const std::string& memory, const std::string& topology = "single",
                              const std::string& mask = "full",
                              const std::string& shape = "b2.hq4.hkv2.sq6.skv5.dqk8.dv4") {
  return prepare(parse_case("fwd/bf16/" + shape + "/" + mask + "/scale0.35/gauss:5/" + memory + "/" + topology), 1);
}

inline Got run_once(const Body& body, const Reference& reference, const Description& description = everything()) {
  Buffers buffers;
  return run(candidate_of(body, description), reference, buffers);
}

inline void expect_fault(const Got& got, const std::string& words) {
  ASSERT_EQ(got.status, CallStatus::kReturned);
  ASSERT_EQ(got.structure_faults.size(), 1u) << testing::PrintToString(got.structure_faults);
  EXPECT_NE(got.structure_faults[0].find(words), std::string::npos) << got.structure_faults[0];
}

// Ranks that know their rank: each writes what row and key its shards hold.
inline Candidate ranks_of(const Body& body) {
  Candidate candidate = candidate_of(body);
  candidate.on_ranks = [forward = candidate.forward](const Topology& topology, const RankBody& rank_body) {
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < topology.rank_count; ++rank) ranks.emplace_back([&, rank] { rank_body(rank, forward); });
    for (std::thread& rank : ranks) rank.join();
  };
  candidate.forward = nullptr;
  return candidate;
}

}  // namespace ringproof

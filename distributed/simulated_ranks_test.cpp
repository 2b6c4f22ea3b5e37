#include "distributed/simulated_ranks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "distributed/candidates.h"
#include "distributed/ring_candidate.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

constexpr const char* kZigzag =
    "fwd/fp32/b1.hq2.hkv1.sq20.skv33.dqk8.dv6/causal_top_left/scale0.35/gauss:3/bhsd/zigzag4";
constexpr const char* kSingle =
    "fwd/fp32/b1.hq2.hkv1.sq20.skv33.dqk8.dv6/causal_top_left/scale0.35/gauss:3/bhsd/single";

CaseVerdict verdict_of(const Candidate& candidate, const char* line) {
  Buffers buffers;
  const Reference reference = prepare(parse_case(line), 1);
  const Got got = run(candidate, reference, buffers);
  const Dtype storage = reference.c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, Direction::kForward).arithmetic, storage);
  return verify_case(compare(candidate.name, reference, arithmetic, got));
}

// The ring, after something of its own.
Candidate ring_after(const std::function<void(Communicator&)>& before) {
  const auto make = [before](const Launcher& launcher) {
    RingComposition composition = ring_compositions().front();
    composition.launcher = [=](int rank_count, const std::function<void(Communicator&)>& body) {
      launcher(rank_count, [&](Communicator& communicator) {
        before(communicator);
        body(communicator);
      });
    };
    return ring_candidate(composition);
  };
  return on_simulated_ranks(make, 1, milliseconds(10'000));
}

TEST(SimulatedRanks, ARightRingIsAcceptedOnManyRanksAndOnOne) {
  for (const Candidate& candidate : distributed_candidates()) {
    for (const char* line : {kZigzag, kSingle}) {
      const CaseVerdict verdict = verdict_of(simulated(candidate, 3, milliseconds(10'000)), line);
      EXPECT_TRUE(verdict.outcome == Outcome::kAccepted || verdict.outcome == Outcome::kUnsupported) << verdict.reason;
    }
  }
}

TEST(SimulatedRanks, ARaceIsRejectedThoughTheAnswerIsRight) {
  const Candidate racing = ring_after([](Communicator& communicator) {
    if (communicator.rank() != 2) return;
    static std::byte bytes[16];
    const Event read = communicator.compute({"look", 1, {bytes}, {}, [](void*) {}}, {});
    communicator.name_memory(bytes, "sixteen bytes");
    const Event sent = communicator.exchange(
        {{{2, std::span(bytes).first(8), {1, 3, 0, 0}}}, {{2, std::span(bytes).last(8), {1, 3, 0, 0}}}}, {});
    communicator.wait(read);
    communicator.wait(sent);
  });
  const CaseVerdict verdict = verdict_of(racing, kZigzag);
  EXPECT_EQ(verdict.outcome, Outcome::kRejected);
  EXPECT_NE(verdict.reason.find("a race: rank 2, step "), std::string::npos) << verdict.reason;
  EXPECT_NE(verdict.reason.find(" sixteen bytes, bytes [8, 16), and nothing orders the two"), std::string::npos)
      << verdict.reason;
  EXPECT_EQ(verdict_of(ring_after([](Communicator&) {}), kZigzag).outcome, Outcome::kAccepted);
}

TEST(SimulatedRanks, WhatIsLeftBehindIsInconclusive) {
  const Candidate leaving = ring_after([](Communicator& communicator) {
    communicator.compute({"forgotten", 4, {}, {}, [](void*) {}}, {});
    if (communicator.rank() == 1) communicator.withdraw();
  });
  const CaseVerdict verdict = verdict_of(leaving, kZigzag);
  EXPECT_EQ(verdict.outcome, Outcome::kInconclusive);
  EXPECT_NE(verdict.reason.find("rank 1, step 4: left before forgotten of step 4 had happened"), std::string::npos)
      << verdict.reason;
}

}  // namespace
}  // namespace ringproof

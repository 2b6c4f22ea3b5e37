// Goal: how attention is split over ranks, or over key ranges, changes nothing beyond the bounds of merging.
// Method: a drawn Case on a ring against the same Case on one device; the two share no path but the local step.
// For splits the judge itself decides, under the merges the split declares.

#include <gtest/gtest.h>

#include "distributed/candidates.h"
#include "gpu/candidates.h"
#include "property_tests/candidates.h"
#include "property_tests/expect.h"
#include "reference/judge/properties.h"
#include "reference/oracle/partial_attention.h"

namespace ringproof {
namespace {

CaseSpace on_several_ranks(const Candidate& ring) {
  CaseSpace space = space_of(ring);
  std::erase(space.topologies, Topology{Schedule::kSingle});
  return space;
}

CaseSpace on_one_device(const Candidate& ring) {
  CaseSpace space = space_of(ring);
  space.topologies = {Topology{Schedule::kSingle}};
  return space;
}

// "" where it holds, or says nothing.
std::string sentence_of(const PropertyResult& result) {
  return result.outcome == Outcome::kUnsupported ? "" : result.sentence;
}

TEST(ARingOfDoubleSteps, GivesTheSameAnswerForEveryScheduleAndRankCount) {
  const Candidate ring = built_in("ring:double");
  Buffers buffers;
  expect_property(on_several_ranks(ring), 150,
                  [&](const Case& c) { return sentence_of(topology_changes_nothing(ring, c, buffers)); });
}

TEST(ARingOfFlashKernels, GivesTheSameAnswerForEveryScheduleAndRankCount) {
  const Candidate ring = built_in("ring:flash_forward_fp32");
  Buffers buffers;
  expect_property(on_several_ranks(ring), 150,
                  [&](const Case& c) { return sentence_of(topology_changes_nothing(ring, c, buffers)); });
}

TEST(ARingOfDoubleSteps, WithOneRankGivesTheBitsOfOneDevice) {
  const Candidate ring = built_in("ring:double");
  Buffers buffers;
  expect_property(on_one_device(ring), 60,
                  [&](const Case& c) { return sentence_of(one_rank_equals_single(ring, ring, c, buffers, true)); });
}

TEST(ARingOfFlashKernels, WithOneRankGivesTheBitsOfTheKernel) {
  const Candidate ring = built_in("ring:flash_forward_fp32"), kernel = built_in("flash_forward_fp32");
  Buffers buffers;
  // A ring hands each document's keys to the kernel as keys of their own, so its tiles start elsewhere: other sums.
  const auto in_bits = [](const Case& c) { return c.problem.mask.kind != MaskKind::kDocument; };
  expect_property(on_one_device(ring), 60, [&](const Case& c) {
    return sentence_of(one_rank_equals_single(ring, kernel, c, buffers, in_bits(c)));
  });
}

void expect_splits_accepted(const LocalStep& step, Merge merge) {
  for (const int pieces : {2, 5}) {
    const Candidate split = split_candidate(step, merge, pieces);
    expect_property(space_of(split), 60, [&](const Case& c) { return is_accepted(split, c); });
  }
}

TEST(AnySplitOfTheKeys, MergesToTheWholeInTheOracle) { expect_splits_accepted(double_step(), merge_partials); }

TEST(AnySplitOfTheKeys, MergesToTheWholeInTheRingsMerge) { expect_splits_accepted(double_step(), merge_partial); }

TEST(AnySplitOfTheKeys, MergesToTheWholeWithTheFlashKernel) {
  expect_splits_accepted(gpu_local_steps().at(0), merge_partial);
}

}  // namespace
}  // namespace ringproof

#include "reference/judge/shrink.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::uint64_t kAnyMemory = std::numeric_limits<std::uint64_t>::max();

const char* const kOddCases[]{
    "fwd/bf16/b3.hq12.hkv4.sq257.skv513.dqk96.dv80/window(63,5)/scale0.125/peaked:18446744073709551615/"
    "bshd+gap8+dim2+mixed/"
    "zigzag8",
    "fwd/fp64/b1.hq2.hkv1.sq1.skv1000.dqk1.dv1/causal_top_left/scale-3/large_offset(-2000):7/thd/striped5",
    "fwd/fp16/b1.hq1.hkv1.sq0.skv9.dqk4.dv4/causal_bottom_right/scale0.5/exact:7/bhsd/contiguous7",
    "fwd/fp32/b2.hq7.hkv7.sq33.skv0.dqk8.dv64/full/scale0/walsh_probe:1/bhsd+gap3/zigzag1",
    "fwd/fp32/b1.hq1.hkv1.sq1.skv1.dqk1.dv1/full/scale1/uniform_probe:0/bhsd/single",
    "fwd/bf16/b1.hq2.hkv1.sq40.skv61.dqk8.dv8/document(9+0+17+3,0+20+30+2)+causal/scale0.5/peaked:3/thd/single",
    "fwd/fp32/b1.hq2.hkv1.sq40.skv61.dqk8.dv8/block_sparse(7x5,keep0.5:77)/scale0.5/gauss:3/bshd+gap3/single"};

TEST(ShrinkCandidates, AreValidJudgeableAndDiffer) {
  for (const char* line : kOddCases) {
    const Case c = parse_case(line);
    ASSERT_NO_THROW(require_judgeable(c, kAnyMemory)) << line;
    for (const Case& neighbour : shrink_candidates(c)) {
      EXPECT_NE(neighbour, c) << line;
      EXPECT_NO_THROW(require_judgeable(neighbour, kAnyMemory)) << to_string(neighbour);
      EXPECT_EQ(parse_case(to_string(neighbour)), neighbour) << to_string(neighbour);
    }
  }
}

TEST(ShrinkCandidates, OfTheSimplestCaseAreNone) { EXPECT_TRUE(shrink_candidates(parse_case(kOddCases[4])).empty()); }

// A fault that needs an empty document in front of another one.
TEST(Shrink, KeepsTheDocumentsThatAFaultNeeds) {
  const auto needs = [](const Case& c) {
    const Mask& mask = c.problem.mask;
    for (std::size_t d = 0; d + 1 < mask.document_lengths_q.size(); ++d) {
      if (mask.document_lengths_q[d] == 0 && mask.document_lengths_kv[d] > 0 && mask.document_lengths_q[d + 1] > 1)
        return true;
    }
    return false;
  };
  const Case smallest = shrink(parse_case(kOddCases[5]), needs);
  EXPECT_EQ(to_string(smallest.problem.mask), "document(0+2,1+0)");
  EXPECT_EQ(smallest.problem.seqlen_q, 2);
  EXPECT_EQ(smallest.problem.seqlen_kv, 1);
}

// A fault that every Case shows, with the neighbour drawn in several ways: always the first, the last, or by a hash.
TEST(ShrinkCandidates, LetGreedyShrinkingEndHoweverItChooses) {
  for (const char* line : kOddCases) {
    for (std::uint64_t way = 0; way < 12; ++way) {
      Case c = parse_case(line);
      std::uint64_t draw = way;
      int steps = 0;
      for (std::vector<Case> next; !(next = shrink_candidates(c)).empty(); ++steps) {
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        const std::size_t choice = way == 0 ? 0 : way == 1 ? next.size() - 1 : (draw >> 33) % next.size();
        c = next[choice];
        ASSERT_LT(steps, 20'000) << line << " at " << to_string(c);
      }
      EXPECT_LE(c.problem.seqlen_q, 1) << line;
      EXPECT_LE(c.problem.seqlen_kv, 1) << line;
      EXPECT_EQ(c.problem.topology, Topology{Schedule::kSingle}) << line;
      EXPECT_EQ(c.problem.heads_q, 1) << line;
      EXPECT_EQ(c.problem.head_dim_v, 1) << line;
      EXPECT_EQ(c.memory, Memory{}) << line;
      EXPECT_EQ(c.inputs.kind, RecipeKind::kUniformProbe) << line;
    }
  }
}

// The smallest Case that still shows a fault of long rows is found exactly.
TEST(ShrinkCandidates, LeadToTheSmallestCaseThatStillShowsTheFault) {
  const Case c = shrink(parse_case(kOddCases[0]),
                        [](const Case& of) { return of.problem.seqlen_kv >= 37 && of.problem.head_dim_v >= 3; });
  EXPECT_EQ(to_string(c), "fwd/bf16/b1.hq1.hkv1.sq1.skv37.dqk1.dv3/full/scale0.125/uniform_probe:0/bhsd/single");
}

TEST(Shrink, EndsWhereTheAnswersTurnToNo) {
  const Case c = parse_case(kOddCases[0]);
  int answers = 3;
  const Case smallest = shrink(c, [&](const Case&) { return answers-- > 0; });
  EXPECT_NE(smallest, c);
  EXPECT_EQ(shrink(c, [](const Case&) { return false; }), c);
}

TEST(ShrinkCandidates, PreferTheSimplestFirst) {
  const std::vector<Case> next = shrink_candidates(parse_case(kOddCases[0]));
  ASSERT_FALSE(next.empty());
  EXPECT_EQ(next.front().problem.topology, Topology{Schedule::kSingle});
}

}  // namespace
}  // namespace ringproof

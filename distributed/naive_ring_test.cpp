#include "distributed/naive_ring.h"

#include <gtest/gtest.h>

#include <cmath>

#include "distributed/communicator_threads.h"
#include "reference/judge/compare.h"
#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/judge/verify.h"
#include "reference/spec/case.h"

namespace ringproof {
namespace {

struct Judged {
  Outcome outcome;
  std::string reason;
  std::int64_t nans = 0;
};

Judged judged(const std::string& line) {
  const Candidate candidate = naive_ring_candidate(threads_launcher());
  const Reference reference = prepare(parse_case(line), 1);
  Buffers buffers;
  const Got got = run(candidate, reference, buffers);
  const CaseVerdict verdict = verify_case(compare(candidate.name, reference, resolve({}, Dtype::kF32), got));
  Judged result{verdict.outcome, verdict.reason};
  const TensorView out = got.out.view();
  for (std::int64_t row = 0; row < out.shape[2]; ++row) result.nans += std::isnan(out.load(0, 0, row, 0)) ? 1 : 0;
  return result;
}

std::string case_of(const std::string& mask, const std::string& topology) {
  return "fwd/fp32/b1.hq2.hkv1.sq32.skv32.dqk16.dv16/" + mask + "/scale0.25/gauss:7/bhsd/" + topology;
}

TEST(NaiveRing, IsAcceptedWithoutAMask) {
  for (const char* const topology : {"single", "contiguous2", "contiguous4"}) {
    const Judged got = judged(case_of("full", topology));
    EXPECT_EQ(got.outcome, Outcome::kAccepted) << topology << ": " << got.reason;
  }
}

TEST(NaiveRing, IsAcceptedUnderACausalMaskOnOneRank) {
  EXPECT_EQ(judged(case_of("causal_top_left", "single")).outcome, Outcome::kAccepted);
}

// Every rank but the last meets a block from behind its rows: NaN there, and in no row of the last rank.
TEST(NaiveRing, IsRejectedWithNanWhereABlockIsHiddenAsAWhole) {
  for (const char* const mask : {"causal_top_left", "causal_bottom_right"}) {
    const Judged got = judged(case_of(mask, "contiguous4"));
    EXPECT_EQ(got.outcome, Outcome::kRejected);
    EXPECT_EQ(got.nans, 24) << mask;
    EXPECT_NE(got.reason.find("nan"), std::string::npos) << got.reason;
  }
}

}  // namespace
}  // namespace ringproof

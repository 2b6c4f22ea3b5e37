#include "reference/judge/bound_fast_oracle.h"

#include <gtest/gtest.h>

#include <cmath>

#include "reference/judge/bound_oracle.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

ForwardAnswer plain(const Case& c) {
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  return attention_forward(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), 1);
}

// The statistics of the plain oracle serve: only their size matters here.
TEST(BoundOfTheFastOracle, IsWiderThanThatOfThePlainOneAndStillFarBelowFp32) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq20.skv500.dqk64.dv8/full/scale0.125/gauss:3/bhsd/single");
  const ForwardAnswer want = plain(c);
  const Bounds fast = fast_oracle_error(c.problem, want), slow = oracle_error(c.problem, want);
  for (std::size_t i = 0; i < fast.lse.size(); ++i) {
    EXPECT_GE(fast.lse[i], slow.lse[i]);
    EXPECT_LE(fast.lse[i], 0x1p-24 * std::fabs(want.lse.value[i]));
  }
  for (std::size_t i = 0; i < fast.out.size(); ++i) {
    EXPECT_GE(fast.out[i], slow.out[i]);
    EXPECT_LE(fast.out[i], 0x1p-24 * want.statistics.p_abs_v[i]);
  }
}

TEST(BoundOfTheFastOracle, IsZeroForEmptyRowsAndInfiniteWhereScoresAreTooWide) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq5.skv3.dqk8.dv2/causal_bottom_right/scale0.35/gauss:3/bhsd/single");
  ForwardAnswer want = plain(c);
  want.statistics.rows[3].d_max = 0x1p60;
  const Bounds error = fast_oracle_error(c.problem, want);
  for (std::size_t row = 0; row < 5; ++row) {
    EXPECT_EQ(error.lse[row] == 0, row < 2) << row;
    EXPECT_EQ(std::isinf(error.lse[row]), row == 3) << row;
    EXPECT_EQ(std::isinf(error.out[row * 2]), row == 3) << row;
    EXPECT_EQ(std::isinf(error.out[row * 2 + 1]), row == 3) << row;
  }
}

}  // namespace
}  // namespace ringproof

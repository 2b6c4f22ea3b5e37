#include "reference/spec/candidate.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace ringproof {
namespace {

struct Asked {
  std::function<void(Description&, Problem&)> change;
  std::string reason;
};

// Supports everything that the plain problem asks, and nothing else.
Description plain_description() {
  Description description;
  description.dtypes = bit_of(Dtype::kF32);
  description.masks = bit_of(MaskKind::kFull);
  return description;
}

Problem plain_problem() { return {Dtype::kF32, Mask{MaskKind::kFull}, 1, 2, 2, 8, 8, 16, 16, 0.25}; }

TEST(UnsupportedReason, IsEmptyForWhatIsDeclared) {
  EXPECT_EQ(unsupported_reason(plain_description(), plain_problem()), "");
}

TEST(UnsupportedReason, NamesEachCauseAndNoneOnceItIsDeclared) {
  const Asked causes[]{{[](Description&, Problem& p) { p.dtype = Dtype::kBf16; }, "bf16"},
                       {[](Description&, Problem& p) {
                          p.mask = {MaskKind::kWindow, 1, 0};
                        },
                        "mask window"},
                       {[](Description&, Problem& p) {
                          p.topology = {Schedule::kZigzag, 2};
                        },
                        "schedule zigzag"},
                       {[](Description&, Problem& p) { p.heads_kv = 1; }, "grouped heads"},
                       {[](Description&, Problem& p) { p.head_dim_v = 8; }, "head_dim_qk != head_dim_v"},
                       {[](Description&, Problem& p) { p.softcap = 3; }, "softcap"},
                       {[](Description&, Problem& p) { p.has_sink = true; }, "sink"},
                       {[](Description&, Problem& p) { p.softmax_scale = 0; }, "scale <= 0"},
                       {[](Description&, Problem& p) { p.softmax_scale = -1; }, "scale <= 0"},
                       {[](Description& d, Problem&) { d.head_dim_max = 15; }, "head dim 16"},
                       {[](Description& d, Problem&) { d.head_dim_multiple = 3; }, "head dim 16"},
                       {[](Description& d, Problem& p) { d.seqlen_max = 8, p.seqlen_kv = 9; }, "length 9"},
                       {[](Description& d, Problem& p) { d.seqlen_max = 8, p.seqlen_q = 10; }, "length 10"}};
  for (const Asked& asked : causes) {
    Description description = plain_description();
    Problem problem = plain_problem();
    asked.change(description, problem);
    EXPECT_EQ(unsupported_reason(description, problem), asked.reason);
    Description everything;
    everything.dtypes = everything.masks = everything.features = everything.schedules = ~0u;
    EXPECT_EQ(unsupported_reason(everything, problem), "") << asked.reason;
  }
}

TEST(UnsupportedReason, AcceptsLimitsThatAreJustMet) {
  Description description = plain_description();
  description.head_dim_max = 16;
  description.head_dim_multiple = 8;
  description.seqlen_max = 8;
  EXPECT_EQ(unsupported_reason(description, plain_problem()), "");
}

TEST(Features, EachHasABitOfItsOwn) {
  Description description;
  for (std::uint32_t bit = 0; bit <= 16; ++bit) {
    const auto feature = static_cast<Feature>(1u << bit);
    EXPECT_FALSE(description.has(feature));
    description.features |= feature;
    EXPECT_TRUE(description.has(feature));
  }
  EXPECT_EQ(kWantsBshd, 1u << 16);
}

}  // namespace
}  // namespace ringproof

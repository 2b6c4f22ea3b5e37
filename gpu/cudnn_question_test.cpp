#include "gpu/cudnn_question.h"

#include <gtest/gtest.h>

#include <functional>

#include "gpu/flash_problem.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

struct Asked {
  std::string reason;
  CudnnQuestion question{};
};

/// With masks, sizes and options of a Case; `memory` may change what is handed over.
Asked ask(const std::string& rest, const std::function<void(FlashParams&)>& change = {}) {
  Case c = parse_case("fwd/" + rest + "/gauss:1/bhsd/single");
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  c.problem = with_data(c.problem, inputs);
  MaskTables tables;
  tables.hand_to(c.problem);
  const Tensor out(dtype_of_out(c.problem.dtype), c.problem.shape_out()),
      lse(dtype_of_lse(c.problem.dtype), c.problem.shape_lse());
  const TensorView lse_view = lse.view();
  FlashParams params =
      make_flash_params(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), out.view(), &lse_view);
  if (change) change(params);
  Asked asked{cudnn_not_asked_reason(params)};
  if (asked.reason.empty()) asked.question = cudnn_question_of(params);
  return asked;
}

TEST(CudnnQuestion, SaysShapesAndStridesInCudnnsOrder) {
  const Asked asked = ask("bf16/b2.hq4.hkv2.sq10.skv30.dqk64.dv32/full/scale0.125");
  ASSERT_EQ(asked.reason, "");
  const CudnnQuestion& q = asked.question;
  EXPECT_EQ(q.q, (CudnnQuestion::Axes{2, 4, 10, 64}));
  EXPECT_EQ(q.k, (CudnnQuestion::Axes{2, 2, 30, 64}));
  EXPECT_EQ(q.v, (CudnnQuestion::Axes{2, 2, 30, 32}));
  EXPECT_EQ(q.out, (CudnnQuestion::Axes{2, 4, 10, 32}));
  EXPECT_EQ(q.stats, (CudnnQuestion::Axes{2, 4, 10, 1}));
  EXPECT_EQ(q.k_stride, (CudnnQuestion::Axes{2 * 30 * 64, 30 * 64, 64, 1}));
  EXPECT_EQ(q.stats_stride, (CudnnQuestion::Axes{40, 10, 1, 1}));
  EXPECT_TRUE(q.is_bf16);
  EXPECT_EQ(q.scale, 0.125f);
  EXPECT_FALSE(q.is_causal);
  EXPECT_FALSE(ask("fp16/b1.hq1.hkv1.sq8.skv8.dqk64.dv64/full/scale0.125").question.is_bf16);
}

TEST(CudnnQuestion, TellsTheDiagonalsApart) {
  const std::string shape = "bf16/b1.hq1.hkv1.sq10.skv30.dqk64.dv64/";
  const CudnnQuestion top_left = ask(shape + "causal_top_left/scale0.125").question;
  EXPECT_TRUE(top_left.is_causal);
  EXPECT_FALSE(top_left.is_bottom_right);
  const CudnnQuestion bottom_right = ask(shape + "causal_bottom_right/scale0.125").question;
  EXPECT_TRUE(bottom_right.is_causal);
  EXPECT_TRUE(bottom_right.is_bottom_right);
  EXPECT_FALSE(ask("bf16/b1.hq1.hkv1.sq9.skv9.dqk8.dv8/causal_bottom_right/scale1").question.is_bottom_right)
      << "of a square both are one";
}

TEST(CudnnQuestion, WhatItIsNotAskedHasAReason) {
  const std::string shape = "bf16/b1.hq1.hkv1.sq10.skv30.dqk64.dv64/";
  EXPECT_EQ(ask(shape + "window(5,0)/scale0.125").reason, "a window");
  EXPECT_EQ(ask(shape + "window(40,3)/scale0.125").reason, "a shifted diagonal");
  EXPECT_EQ(ask(shape + "window(40,40)/scale0.125").reason, "") << "it hides nothing";
  EXPECT_EQ(ask(shape + "block_sparse(8x8,keep0.5:1)/scale0.125").reason, "documents or block_sparse");
  EXPECT_EQ(ask(shape + "full/scale0.125,softcap20").reason, "a sink or softcap");
  EXPECT_EQ(ask(shape + "full/scale0.125,sink").reason, "a sink or softcap");
  EXPECT_EQ(ask("fp32/b1.hq1.hkv1.sq8.skv8.dqk64.dv64/full/scale0.125").reason, "storage that is not of 16 bits");
  EXPECT_EQ(ask("bf16/b1.hq1.hkv1.sq8.skv8.dqk60.dv64/full/scale0.125").reason, "head dims that are no multiple of 8");
  EXPECT_EQ(ask("bf16/b1.hq1.hkv1.sq0.skv8.dqk64.dv64/full/scale0.125").reason, "tensors without elements");
  EXPECT_EQ(ask(shape + "full/scale0.125", [](FlashParams& p) { p.lse = nullptr; }).reason, "no lse");
  EXPECT_EQ(ask(shape + "full/scale0.125", [](FlashParams& p) { p.v_stride[3] = 2; }).reason, "a last stride");
  EXPECT_EQ(ask(shape + "full/scale0.125", [](FlashParams& p) { p.out_dtype = Dtype::kF32; }).reason,
            "an output of another dtype");
}

}  // namespace
}  // namespace ringproof

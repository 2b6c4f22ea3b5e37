// Every kernel of the list, each held to all it declares: judged on Cases that between them meet every mask, option and
// memory, head dims up to the largest and the padding between them; and to the same bits under every order of threads.

#include "gpu/kernels.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "gpu/candidates.h"
#include "gpu/flash_problem.h"
#include "gpu/simt/runtime.h"
#include "reference/judge/verify.h"
#include "reference/spec/inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {

void PrintTo(const FlashKernel& kernel, std::ostream* to) { *to << kernel.name; }

namespace {

using simt::host::LaunchOptions;
using simt::host::Order;

// Behind "fwd/<dtype of the kernel>/", before "/single".
constexpr const char* kCases[]{
    "b2.hq4.hkv2.sq70.skv150.dqk96.dv96/causal_bottom_right/scale0.1/gauss:1/bshd+gap3",
    "b1.hq2.hkv1.sq40.skv90.dqk192.dv128/full/scale0.0721/peaked:2/bhsd",
    "b1.hq2.hkv2.sq33.skv70.dqk256.dv256/window(20,3)/scale0.0625/gauss:3/thd",
    "b1.hq2.hkv1.sq33.skv70.dqk64.dv256/causal_top_left/scale0.125/descending:4/bhsd",
    "b1.hq8.hkv1.sq1.skv500.dqk128.dv128/full/scale0.088/sink:5/bhsd",
    "b3.hq7.hkv1.sq3.skv300.dqk64.dv64/causal_bottom_right/scale0.125/ascending:6/bshd",
    "b1.hq2.hkv2.sq64.skv64.dqk64.dv64/window(-1,2)/scale0.125,sink/gauss:7/bhsd",
    "b1.hq6.hkv2.sq50.skv90.dqk64.dv64/document(20+0+10+15,30+5+0+40)+causal/scale0.125,softcap20,sink/gauss:8/bhsd",
    "b1.hq2.hkv2.sq100.skv200.dqk64.dv64/block_sparse(32x16,keep0.4:9)/scale0.125,softcap3/gauss:9/bhsd+mixed",
    "b1.hq2.hkv2.sq90.skv130.dqk32.dv32/block_sparse(64x128,keep0.5:2)/scale0.2,sink/gauss:10/bhsd+page_end",
    "b2.hq2.hkv1.sq20.skv70.dqk64.dv64/window(9,2)/scale0.125,sink/gauss:11/bhsd+nan2",
    "b1.hq2.hkv1.sq80.skv90.dqk128.dv128/document(40+40,40+50)/scale0.125/gauss:12/bhsd+nan2",
    "b1.hq2.hkv1.sq80.skv140.dqk32.dv32/block_sparse(16x16,keep0.5:4)/scale0.125/gauss:13/bhsd+nan2",
    "b1.hq2.hkv1.sq80.skv80.dqk256.dv256/causal_top_left/scale0.0625/gauss:14/bhsd+nan1",
    "b3.hq2.hkv1.sq20.skv33.dqk32.dv32/causal_bottom_right/scale0.17677669/gauss:15/bhsd+huge_batch",
    "b1.hq2.hkv1.sq40.skv70.dqk32.dv32/causal_bottom_right/scale0.17677669,sink/gauss:16/bhsd+huge_seq",
    "b1.hq4.hkv2.sq30.skv100.dqk16.dv16/full/scale0.25/gauss:17/bhsd+broadcast_kv+dim2",
    "b1.hq4.hkv4.sq70.skv70.dqk48.dv48/causal_top_left/scale0.25/gauss:18/bhsd+alias",
    "b1.hq4.hkv1.sq30.skv70.dqk192.dv128/full/scale0.0721/gauss:19/bhsd+v_in_k",
    "b1.hq2.hkv2.sq40.skv20.dqk32.dv32/causal_bottom_right/scale0.17677669,sink/large_offset(2000):20/bhsd",
    "b1.hq2.hkv2.sq40.skv80.dqk32.dv32/full/scale0.17677669/large_offset(-10000):21/bhsd",
    "b1.hq2.hkv2.sq40.skv80.dqk32.dv32/full/scale-0.17677669,softcap5/gauss:22/bhsd",
    "b1.hq2.hkv2.sq40.skv80.dqk32.dv32/causal_top_left/scale0.17677669/special:23/bhsd",
    "b1.hq2.hkv2.sq40.skv700.dqk32.dv32/full/scale0.17677669/walsh_probe:24/bhsd",
    "b1.hq2.hkv1.sq40.skv90.dqk8.dv24/full/scale0.3/head_coded:25/bhsd",
    "b2.hq2.hkv2.sq5.skv0.dqk16.dv16/full/scale0.25/gauss:26/bhsd",
    "b2.hq2.hkv2.sq5.skv0.dqk16.dv16/full/scale0.25,sink/gauss:27/bhsd",
    "b2.hq2.hkv2.sq0.skv9.dqk16.dv16/full/scale0.25/gauss:28/bhsd",
};

class EveryKernel : public testing::TestWithParam<FlashKernel> {
 protected:
  std::string line_of(const char* text) const {
    return "fwd/" + std::string(to_string(GetParam().dtype)) + "/" + text + "/single";
  }
};

TEST_P(EveryKernel, IsAcceptedOnEveryMaskOptionAndMemory) {
  const Candidate candidate = candidate_on_host(GetParam());
  Buffers buffers;
  for (const char* text : kCases) {
    const Reference reference = prepare(parse_case(line_of(text)), 2);
    const Got got = run(candidate, reference, buffers);
    const Dtype dtype = reference.c.problem.dtype;
    const Arithmetic arithmetic = resolve(candidate.describe(dtype, Direction::kForward).arithmetic, dtype);
    const CaseVerdict verdict = verify_case(compare(candidate.name, reference, arithmetic, got));
    EXPECT_EQ(verdict.outcome, Outcome::kAccepted) << verdict.case_line << "\n" << verdict.reason;
  }
}

TEST_P(EveryKernel, DeclaresNothingLooserThanTheDefaultAndIsSafeFromNan) {
  const Description description = GetParam().describe();
  EXPECT_TRUE(looser_than_default(description.arithmetic, GetParam().dtype).empty());
  EXPECT_EQ(description.dtypes, bit_of(GetParam().dtype));
  EXPECT_TRUE(description.has(kNanSafeUnseen) && description.has(kNanSafeHidden) && description.has(kEmptyRowsDefined));
}

/// out and lse of one call, dense.
struct Answer {
  std::vector<std::byte> out, lse;
  bool operator==(const Answer&) const = default;
};

Answer answer_of(const FlashKernel& kernel, const Case& c, const Inputs& inputs, LaunchOptions options) {
  Problem problem = with_data(c.problem, inputs);
  MaskTables tables;
  tables.hand_to(problem);
  const Tensor out(problem.dtype, problem.shape_out()), lse(dtype_of_lse(problem.dtype), problem.shape_lse());
  const TensorView lse_view = lse.view();
  FlashParams params =
      make_flash_params(problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), out.view(), &lse_view);
  const std::int64_t workspace_bytes = kernel.workspace_bytes != nullptr ? kernel.workspace_bytes(params) : 0;
  // All bits set: NaN, which shows where it is read before it is written.
  std::vector<std::byte> workspace(static_cast<std::size_t>(workspace_bytes), std::byte{0xff});
  params.workspace = workspace.data();
  kernel.on_host(params, &options);
  return {out.bytes(), lse.bytes()};
}

TEST_P(EveryKernel, GivesTheSameBitsUnderEveryOrderOfThreads) {
  for (const char* text : {"b1.hq4.hkv2.sq70.skv150.dqk64.dv64/causal_bottom_right/scale0.125,sink/gauss:1/bhsd",
                           "b1.hq2.hkv1.sq40.skv90.dqk128.dv128/window(30,9)/scale0.1/peaked:2/bhsd"}) {
    const Case c = parse_case(line_of(text));
    const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
    const Answer want = answer_of(GetParam(), c, inputs, {});
    for (const LaunchOptions& options : {LaunchOptions{Order::kReverse, 0, 1}, LaunchOptions{Order::kRandom, 1, 1},
                                         LaunchOptions{Order::kRandom, 2, 2}}) {
      EXPECT_TRUE(answer_of(GetParam(), c, inputs, options) == want) << text;
    }
  }
}

std::string name_of(const testing::TestParamInfo<FlashKernel>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Kernels, EveryKernel, testing::ValuesIn(flash_kernels()), name_of);

}  // namespace
}  // namespace ringproof

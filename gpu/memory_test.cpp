// Every kernel on tensors of exactly the size they need, under every order of threads and blocks: the bits must be the
// same, and under AddressSanitizer and UndefinedBehaviorSanitizer (ci/sanitize.sh) nothing outside may be touched.

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "gpu/simt/runtime.h"
#include "reference/spec/candidate.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

using simt::host::LaunchOptions;
using simt::host::MmaNumerics;
using simt::host::Order;

std::vector<std::byte> answer_of(const FlashKernel& kernel, const Case& c, const Inputs& inputs,
                                 LaunchOptions options) {
  Shape shape = inputs.q.shape();
  shape[3] = inputs.v.shape()[3];
  const Tensor out(kernel.dtype, shape);
  FlashParams params =
      make_flash_params(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), out.view(), nullptr);
  std::vector<std::byte> workspace;
  if (kernel.workspace_bytes != nullptr) {
    workspace.resize(static_cast<std::size_t>(kernel.workspace_bytes(params)));
    params.workspace = workspace.data();
  }
  kernel.on_host(params, &options);
  return out.bytes();
}

void expect_same_bits_in_every_order(const FlashKernel& kernel, const std::string& shape) {
  const Case c =
      parse_case("fwd/" + std::string(to_string(kernel.dtype)) + "/" + shape + "/scale0.125/gauss:1/bhsd/single");
  ASSERT_EQ(unsupported_reason(kernel.describe(), c.problem), "");
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  for (const MmaNumerics mma : {MmaNumerics::kSequentialFp32, MmaNumerics::kExactThenRound, MmaNumerics::kHopper}) {
    const std::vector<std::byte> want = answer_of(kernel, c, inputs, {Order::kForward, 0, 0, mma});
    EXPECT_TRUE(answer_of(kernel, c, inputs, {Order::kReverse, 0, 0, mma}) == want) << kernel.name << " " << shape;
    EXPECT_TRUE(answer_of(kernel, c, inputs, {Order::kRandom, 3, 0, mma}) == want) << kernel.name << " " << shape;
  }
}

TEST(KernelMemory, EveryKernelStaysWithinItsTensorsAndGivesTheSameBitsInEveryOrder) {
  for (const FlashKernel& kernel : flash_kernels()) {
    for (const char* const shape :
         {"b1.hq2.hkv1.sq65.skv129.dqk32.dv32/full", "b2.hq2.hkv2.sq70.skv90.dqk64.dv64/causal_bottom_right",
          "b1.hq1.hkv1.sq33.skv100.dqk40.dv24/window(31,0)", "b1.hq1.hkv1.sq1.skv300.dqk128.dv128/full",
          "b1.hq1.hkv1.sq40.skv40.dqk192.dv128/causal_top_left"}) {
      expect_same_bits_in_every_order(kernel, shape);
    }
  }
}

}  // namespace
}  // namespace ringproof

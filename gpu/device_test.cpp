// The same kernel source on a CUDA device, judged like any candidate. Without a device these report so and do not pass.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/candidates.h"
#include "gpu/device.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

constexpr const char* kLines[]{
    "fwd/fp32/b2.hq4.hkv2.sq128.skv128.dqk64.dv64/full/scale0.125/gauss:1/bhsd/single",
    "fwd/fp32/b1.hq7.hkv1.sq63.skv64.dqk64.dv64/causal_bottom_right/scale0.125/peaked:2/bshd+gap3/single",
    "fwd/fp32/b1.hq2.hkv2.sq90.skv40.dqk32.dv128/causal_bottom_right/scale0.125/gauss:3/bhsd+mixed/single",
    "fwd/fp32/b2.hq2.hkv1.sq100.skv90.dqk24.dv72/window(7,5)/scale0.2/large_offset(2000):4/bhsd+dim2/single",
    "fwd/fp32/b1.hq2.hkv2.sq66.skv131.dqk32.dv16/causal_top_left/scale0.125/walsh_probe:5/thd/single",
    "fwd/fp32/b1.hq2.hkv2.sq5.skv0.dqk16.dv16/full/scale0.125/gauss:6/bhsd/single",
};

std::vector<Candidate> device_candidates() {
  std::vector<Candidate> candidates = gpu_candidates();
  std::erase_if(candidates, [](const Candidate& candidate) { return !candidate.name.ends_with(":cuda"); });
  return candidates;
}

TEST(CudaDevice, EveryKernelIsACandidateThatSaysWhyItCannotRunExactlyWhereThereIsNoDevice) {
  EXPECT_EQ(device_candidates().size(), flash_kernels().size());
  for (const Candidate& candidate : device_candidates()) {
    EXPECT_EQ(candidate.not_run_reason.empty(), cuda_device_name() != "none") << candidate.name;
  }
}

TEST(CudaDevice, EveryKernelIsAccepted) {
  for (const Candidate& candidate : device_candidates()) {
    if (!candidate.not_run_reason.empty()) GTEST_SKIP() << "not run: " << candidate.not_run_reason;
    Buffers buffers;
    for (std::string line : kLines) {
      Case c = parse_case(line);
      for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
        c.problem.dtype = dtype;
        const Description description = candidate.describe(dtype, Direction::kForward);
        if (!unsupported_reason(description, c.problem).empty()) continue;
        const Reference reference = prepare(c, 2);
        const Got got = run(candidate, reference, buffers);
        const Arithmetic arithmetic = resolve(description.arithmetic, dtype);
        const CaseVerdict verdict = verify_case(compare(candidate.name, reference, arithmetic, got));
        EXPECT_EQ(verdict.outcome, Outcome::kAccepted) << candidate.name << " " << line << "\n" << verdict.reason;
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

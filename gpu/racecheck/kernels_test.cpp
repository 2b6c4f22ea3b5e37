#include "gpu/racecheck/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "gpu/kernels.h"
#include "reference/spec/error.h"

namespace ringproof::racecheck {
namespace {

TEST(RacecheckKernels, EveryKernelIsCheckedOnEveryMaskAtLength256AndOnPartialTiles) {
  for (const FlashKernel& kernel : flash_kernels()) {
    std::uint32_t masks = 0;
    bool is_long = false, is_partial = false;
    for (const Case& c : cases_of(kernel.name)) {
      masks |= bit_of(c.problem.mask.kind);
      is_long = is_long || (c.problem.seqlen_q == 256 && c.problem.seqlen_kv == 256);
      is_partial = is_partial || c.problem.seqlen_kv % 8 != 0;
    }
    EXPECT_EQ(masks, kernel.describe().masks) << kernel.name;
    EXPECT_TRUE(is_long && is_partial) << kernel.name;
  }
}

TEST(RacecheckKernels, RefusesUnknownKernelsAndCasesThatAKernelDoesNotTake) {
  EXPECT_THROW(cases_of("no_such_kernel"), InputError);
  const std::vector<Case> cases = cases_of("flash_forward_mma_bf16");
  EXPECT_THROW(workloads_of("flash_forward_fp32", cases), InputError);
}

}  // namespace
}  // namespace ringproof::racecheck

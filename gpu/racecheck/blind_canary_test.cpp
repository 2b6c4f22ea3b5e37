// The canary compiled without instrumentation, as kernels would be by a build that forgot it.

#include <gtest/gtest.h>

#include "gpu/racecheck/canary.h"

namespace ringproof::racecheck {
namespace {

TEST(Canary, RefusesAProgramWhoseKernelsAreNotInstrumented) {
  EXPECT_NE(canary_failure().find("this program's kernels are not instrumented"), std::string::npos)
      << canary_failure();
}

}  // namespace
}  // namespace ringproof::racecheck

#include "gpu/racecheck/canary.h"

#include <gtest/gtest.h>

namespace ringproof::racecheck {
namespace {

TEST(Canary, IsSeenWhereKernelsAreInstrumented) { EXPECT_EQ(canary_failure(), ""); }

}  // namespace
}  // namespace ringproof::racecheck

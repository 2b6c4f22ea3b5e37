#include "distributed/communicator_nccl_library.h"

#include <gtest/gtest.h>
#include <nccl.h>

namespace ringproof {
namespace {

TEST(NcclLibrary, TheLibraryHereHasEveryFunctionThatIsCalled) {
  if (nccl_version() == "none" && nccl_library_missing_reason().starts_with("no NCCL library")) {
    GTEST_SKIP() << nccl_library_missing_reason();
  }
  EXPECT_EQ(nccl_library_missing_reason(), "");
  EXPECT_GE(nccl_version(), "2.") << nccl_version();
  EXPECT_TRUE(std::string(ncclGetErrorString(ncclInvalidUsage)).starts_with("invalid usage"));
}

TEST(NcclLibrary, NoDeviceIsAReasonAndNotAnError) {
  const std::string reason = nccl_missing_reason();
  if (!reason.empty()) {
    EXPECT_TRUE(reason.starts_with("no CUDA device (") || reason.find("NCCL library") != std::string::npos) << reason;
  }
}

}  // namespace
}  // namespace ringproof

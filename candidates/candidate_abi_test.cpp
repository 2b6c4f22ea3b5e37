#include "candidates/candidate_abi.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "candidates/candidate_abi_fields_test.h"
#include "reference/spec/candidate.h"

extern "C" std::int64_t ringproof_test_c99_layout(int i);

namespace ringproof {
namespace {

#define FIELD(type, name) static_cast<std::int64_t>(offsetof(type, name)),
#define WHOLE(type) static_cast<std::int64_t>(sizeof(type)),

// Version 1, in bytes: offsets of rp_tensor and its size, then of rp_problem, rp_arithmetic, rp_description. Plug-ins
// are compiled against these; another number is another version.
const std::vector<std::int64_t> kVersion1{0,   8,   12,  16,  48,  80,  0,   4,   8,   16,  24,  32,  40,  48,  56,
                                          64,  72,  80,  88,  96,  104, 112, 120, 128, 132, 136, 144, 152, 160, 168,
                                          176, 184, 188, 192, 196, 200, 264, 0,   4,   8,   12,  16,  20,  24,  28,
                                          32,  36,  40,  44,  48,  56,  64,  72,  80,  88,  96,  104, 136, 0,   4,
                                          8,   12,  16,  80,  84,  88,  92,  96,  100, 104, 112, 120, 256};

TEST(CandidateAbi, LiesAsVersion1WroteItDown) {
  const std::vector<std::int64_t> here{RP_EVERY_FIELD(FIELD, WHOLE)};
  EXPECT_EQ(here, kVersion1);
  EXPECT_EQ(RP_ABI_VERSION, 1);
}

TEST(CandidateAbi, LiesInC99AsInCpp) {
  for (std::size_t i = 0; i < kVersion1.size(); ++i) {
    EXPECT_EQ(ringproof_test_c99_layout(static_cast<int>(i)), kVersion1[i]) << "number " << i;
  }
}

struct Number {
  int twin, abi, contract;
};

const Number kNumbers[]{
    {static_cast<int>(Dtype::kDefault), RP_DTYPE_DEFAULT, 0},                          //
    {static_cast<int>(Dtype::kF64), RP_F64, 1},                                        //
    {static_cast<int>(Dtype::kF32), RP_F32, 2},                                        //
    {static_cast<int>(Dtype::kF16), RP_F16, 3},                                        //
    {static_cast<int>(Dtype::kBf16), RP_BF16, 4},                                      //
    {static_cast<int>(Dtype::kF8E4m3), RP_F8_E4M3, 5},                                 //
    {static_cast<int>(Dtype::kF8E5m2), RP_F8_E5M2, 6},                                 //
    {static_cast<int>(Dtype::kTf32), RP_TF32, 7},                                      //
    {static_cast<int>(MaskKind::kFull), RP_MASK_FULL, 0},                              //
    {static_cast<int>(MaskKind::kCausalTopLeft), RP_MASK_CAUSAL_TOP_LEFT, 1},          //
    {static_cast<int>(MaskKind::kCausalBottomRight), RP_MASK_CAUSAL_BOTTOM_RIGHT, 2},  //
    {static_cast<int>(MaskKind::kWindow), RP_MASK_WINDOW, 3},                          //
    {static_cast<int>(MaskKind::kDocument), RP_MASK_DOCUMENT, 4},                      //
    {static_cast<int>(MaskKind::kBlockSparse), RP_MASK_BLOCK_SPARSE, 5},               //
    {static_cast<int>(Schedule::kSingle), RP_SCHEDULE_SINGLE, 0},                      //
    {static_cast<int>(Schedule::kContiguous), RP_SCHEDULE_CONTIGUOUS, 1},              //
    {static_cast<int>(Schedule::kStriped), RP_SCHEDULE_STRIPED, 2},                    //
    {static_cast<int>(Schedule::kZigzag), RP_SCHEDULE_ZIGZAG, 3},                      //
    {static_cast<int>(Schedule::kHeadSplit), RP_SCHEDULE_HEAD_SPLIT, 4},               //
    {static_cast<int>(Schedule::kAllGather), RP_SCHEDULE_ALL_GATHER, 5},               //
    {static_cast<int>(KeyOrder::kMonotone), RP_KEYS_MONOTONE, 0},                      //
    {static_cast<int>(KeyOrder::kAnyOrder), RP_KEYS_ANY_ORDER, 1},                     //
    {static_cast<int>(Status::kOk), RP_OK, 0},                                         //
    {static_cast<int>(Status::kUnsupported), RP_UNSUPPORTED, 1},                       //
    {static_cast<int>(Status::kError), RP_ERROR, 2},                                   //
};

const Number kFeatures[]{
    {static_cast<int>(kGroupedHeads), RP_GROUPED_HEADS, 1 << 0},                    //
    {static_cast<int>(kSoftcap), RP_SOFTCAP, 1 << 1},                               //
    {static_cast<int>(kSink), RP_SINK, 1 << 2},                                     //
    {static_cast<int>(kArbitraryStrides), RP_ARBITRARY_STRIDES, 1 << 3},            //
    {static_cast<int>(kWritesLse), RP_WRITES_LSE, 1 << 4},                          //
    {static_cast<int>(kUnequalHeadDims), RP_UNEQUAL_HEAD_DIMS, 1 << 5},             //
    {static_cast<int>(kForwardDeterministic), RP_FORWARD_DETERMINISTIC, 1 << 6},    //
    {static_cast<int>(kWantsDeviceMemory), RP_WANTS_DEVICE_MEMORY, 1 << 7},         //
    {static_cast<int>(kBackwardDeterministic), RP_BACKWARD_DETERMINISTIC, 1 << 8},  //
    {static_cast<int>(kNanSafeUnseen), RP_NAN_SAFE_UNSEEN, 1 << 9},                 //
    {static_cast<int>(kNanSafeHidden), RP_NAN_SAFE_HIDDEN, 1 << 10},                //
    {static_cast<int>(kEmptyRowsDefined), RP_EMPTY_ROWS_DEFINED, 1 << 11},          //
    {static_cast<int>(kNonPositiveScale), RP_NON_POSITIVE_SCALE, 1 << 12},          //
    {static_cast<int>(kWritesSinkGradient), RP_WRITES_SINK_GRADIENT, 1 << 13},      //
    {static_cast<int>(kLseLeavesSinkOut), RP_LSE_LEAVES_SINK_OUT, 1 << 14},         //
    {static_cast<int>(kBatchInvariant), RP_BATCH_INVARIANT, 1 << 15},               //
    {static_cast<int>(kWantsBshd), RP_WANTS_BSHD, 1 << 16},                         //
};

TEST(CandidateAbi, HasTheNumbersOfTheCppTwins) {
  for (const auto& [twin, abi, contract] : kNumbers) {
    EXPECT_EQ(twin, contract);
    EXPECT_EQ(abi, contract);
  }
}

TEST(CandidateAbi, HasTheFeatureBitsOfTheCppTwins) {
  for (const auto& [twin, abi, contract] : kFeatures) {
    EXPECT_EQ(twin, contract);
    EXPECT_EQ(abi, contract);
  }
}

}  // namespace
}  // namespace ringproof

// What a kernel is told of its mask, against Visibility, the answer that oracle and judge go by. The functions read
// plain memory and wait for nobody, so that they are called here without a kernel around them.

#include "gpu/kernel_mask.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gpu/flash_problem.h"
#include "reference/spec/case.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

using namespace on_host;

constexpr const char* kMasks[]{
    "sq70.skv90.dqk8.dv8/full",
    "sq70.skv70.dqk8.dv8/causal_top_left",
    "sq90.skv40.dqk8.dv8/causal_bottom_right",
    "sq40.skv190.dqk8.dv8/causal_bottom_right",
    "sq70.skv150.dqk8.dv8/window(9,4)",
    "sq70.skv150.dqk8.dv8/window(-1,3)",
    "sq120.skv20.dqk8.dv8/window(3,-1)",
    "sq5.skv0.dqk8.dv8/full",
    "sq90.skv100.dqk8.dv8/document(5+0+60,7+0+80)",
    "sq90.skv100.dqk8.dv8/document(5+0+60+3,7+4+80+1)+causal",
    "sq40.skv130.dqk8.dv8/document(0+0+20+0+20,10+5+0+0+115)+causal",
    "sq40.skv30.dqk8.dv8/document(20+20,10+20)+causal",
    "sq40.skv30.dqk8.dv8/document(0,0)",
    "sq90.skv130.dqk8.dv8/block_sparse(64x64,keep0.5:1)",
    "sq90.skv130.dqk8.dv8/block_sparse(7x5,keep0.5:2)",
    "sq33.skv130.dqk8.dv8/block_sparse(1x1,keep0.4:3)",
    "sq90.skv130.dqk8.dv8/block_sparse(16x32,keep0:4)",
    "sq90.skv130.dqk8.dv8/block_sparse(40x1000,keep1:5)",
};

/// The mask of one line, as a kernel is handed it.
struct Asked {
  Problem problem;
  MaskTables tables;
  FlashParams prm;

  explicit Asked(const char* mask)
      : problem(parse_case("fwd/fp32/b1.hq1.hkv1." + std::string(mask) + "/scale0.5/gauss:1/bhsd/single").problem) {
    tables.hand_to(problem);
    const Tensor q(Dtype::kF32, problem.shape_q()), k(Dtype::kF32, problem.shape_k());
    const Tensor v(Dtype::kF32, problem.shape_v()), out(Dtype::kF32, problem.shape_out());
    prm = make_flash_params(problem, q.view(), k.view(), v.view(), out.view(), nullptr);
  }
};

TEST(KernelMask, BitsOfEveryRowAreTheKeysItSees) {
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    const Visibility visibility(asked.problem);
    for (std::int64_t row = 0; row < asked.prm.seqlen_q; ++row) {
      const KeySpan span = span_of_row(asked.prm, row);
      for (std::int64_t key0 = 0; key0 < asked.prm.seqlen_kv + 64; key0 += 32) {
        const std::uint64_t wide = visible_bits<64>(asked.prm, span, row, key0);
        const std::uint64_t narrow = visible_bits<32>(asked.prm, span, row, key0);
        ASSERT_EQ(narrow, wide & 0xffffffffu) << mask << " row " << row;
        for (std::int64_t c = 0; c < 64; ++c) {
          const bool sees = key0 + c < asked.prm.seqlen_kv && visibility.sees(row, key0 + c);
          ASSERT_EQ(wide >> c & 1, sees ? 1u : 0u) << mask << " row " << row << " key " << key0 + c;
        }
      }
    }
  }
}

TEST(KernelMask, SpansNeverFallFromRowToRow) {
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    for (std::int64_t row = 1; row < asked.prm.seqlen_q; ++row) {
      const KeySpan before = span_of_row(asked.prm, row - 1), span = span_of_row(asked.prm, row);
      ASSERT_LE(before.first, span.first) << mask << " row " << row;
      ASSERT_LE(before.last, span.last) << mask << " row " << row;
    }
  }
}

TEST(KernelMask, SpanOfATileOfRowsHoldsWhatEachOfThemSees) {
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    const Visibility visibility(asked.problem);
    for (std::int64_t row0 = 0; row0 < asked.prm.seqlen_q; row0 += 16) {
      const KeySpan all = span_of_rows(asked.prm, row0, row0 + 16);
      for (std::int64_t row = row0; row < std::min(row0 + 16, asked.prm.seqlen_q); ++row) {
        for (const KeyRange& keys : visibility.ranges(row)) {
          ASSERT_LE(all.first, keys.begin) << mask << " row " << row;
          ASSERT_GE(all.last, keys.end - 1) << mask << " row " << row;
        }
      }
    }
  }
}

TEST(KernelMask, NoneAndAllAreSaidOfATileOnlyWhereTheyHold) {
  std::int64_t none = 0, all = 0;
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    const Visibility visibility(asked.problem);
    for (const std::int64_t rows : {4, 16, 64}) {
      for (std::int64_t row0 = 0; row0 < asked.prm.seqlen_q; row0 += rows) {
        const std::int64_t row_end = std::min(row0 + rows, asked.prm.seqlen_q);
        for (std::int64_t key0 = 0; key0 < asked.prm.seqlen_kv; key0 += 32) {
          std::int64_t seen = 0;
          for (std::int64_t row = row0; row < row_end; ++row) {
            for (std::int64_t key = key0; key < std::min(key0 + 32, asked.prm.seqlen_kv); ++key) {
              seen += visibility.sees(row, key) ? 1 : 0;
            }
          }
          const Sight sight = sight_of(asked.prm, row0, row0 + rows, key0, key0 + 32);
          const bool is_right = sight == Sight::kSome || seen == (sight == Sight::kNone ? 0 : (row_end - row0) * 32);
          ASSERT_TRUE(is_right) << mask << " rows from " << row0 << " keys from " << key0 << " seen " << seen;
          none += sight == Sight::kNone ? 1 : 0;
          all += sight == Sight::kAll ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(none, 0);
  EXPECT_GT(all, 0);
}

// A kernel that never hears "none" or "all" of a band would be right, and slow.
TEST(KernelMask, OfABandNoneAndAllAreSaidWhereverTheyHold) {
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    if (asked.prm.document_starts_q != nullptr || asked.prm.block_mask != nullptr) continue;
    const Visibility visibility(asked.problem);
    for (std::int64_t row0 = 0; row0 < asked.prm.seqlen_q; row0 += 16) {
      const std::int64_t row_end = std::min(row0 + 16, asked.prm.seqlen_q);
      for (std::int64_t key0 = 0; key0 < asked.prm.seqlen_kv; key0 += 16) {
        std::int64_t seen = 0;
        for (std::int64_t row = row0; row < row_end; ++row) {
          for (std::int64_t key = key0; key < std::min(key0 + 16, asked.prm.seqlen_kv); ++key) {
            seen += visibility.sees(row, key) ? 1 : 0;
          }
        }
        const Sight want = seen == 0 ? Sight::kNone : seen == (row_end - row0) * 16 ? Sight::kAll : Sight::kSome;
        ASSERT_EQ(sight_of(asked.prm, row0, row0 + 16, key0, key0 + 16), want) << mask << " row " << row0;
      }
    }
  }
}

TEST(KernelMask, RowsPastTheEndSeeNothing) {
  for (const char* mask : kMasks) {
    const Asked asked(mask);
    const std::int64_t row = asked.prm.seqlen_q + 3;
    EXPECT_EQ(visible_bits<64>(asked.prm, span_of_row(asked.prm, row), row, 0), 0u) << mask;
  }
}

TEST(FlashProblem, BandsAreClampedWithoutChangingWhatARowSees) {
  LocalProblem problem{};
  problem.softmax_scale = 1;
  Tensor q(Dtype::kF32, {1, 1, 5, 8}), k(Dtype::kF32, {1, 1, 7, 8}), out(Dtype::kF32, {1, 1, 5, 8});
  for (const std::int64_t lo : {-kUnbounded, INT64_MIN, std::int64_t{-3}, std::int64_t{2}, INT64_MAX}) {
    for (const std::int64_t hi : {INT64_MIN, std::int64_t{-4}, std::int64_t{1}, kUnbounded, INT64_MAX}) {
      problem.band = {lo, hi};
      const FlashParams prm = make_flash_params(problem, q.view(), k.view(), k.view(), out.view(), nullptr);
      for (std::int64_t row = 0; row < 5; ++row) {
        std::uint64_t want = 0;
        for (std::int64_t key = 0; key < 7; ++key) {
          want |= std::uint64_t{key - row >= lo && key - row <= hi} << key;
        }
        EXPECT_EQ(visible_bits<64>(prm, span_of_row(prm, row), row, 0), want) << lo << " " << hi << " row " << row;
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

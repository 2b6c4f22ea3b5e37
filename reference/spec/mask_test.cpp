#include "reference/spec/mask.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace ringproof {
namespace {

// The table of contracts, pair by pair.
bool is_visible(const Mask& mask, std::int64_t i, std::int64_t j, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  const std::int64_t distance = j - (i + seqlen_kv - seqlen_q);  // to the right of the bottom-right diagonal
  switch (mask.kind) {
    case MaskKind::kFull: return true;
    case MaskKind::kCausalTopLeft: return j <= i;
    case MaskKind::kCausalBottomRight: return distance <= 0;
    default: break;
  }
  const bool left = mask.window_left == -1 || -distance <= mask.window_left;
  const bool right = mask.window_right == -1 || distance <= mask.window_right;
  return left && right;
}

std::vector<Mask> masks() {
  std::vector<Mask> all{{MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}};
  for (std::int64_t left = -1; left <= 3; ++left) {
    for (std::int64_t right = -1; right <= 3; ++right) all.push_back({MaskKind::kWindow, left, right});
  }
  return all;
}

TEST(Band, IsTheMaskPairByPairAtAllSmallSizes) {
  for (const Mask& mask : masks()) {
    for (std::int64_t q = 0; q <= 7; ++q) {
      for (std::int64_t kv = 0; kv <= 7; ++kv) {
        const Band band = band_of(mask, q, kv);
        for (std::int64_t i = 0; i < q; ++i) {
          const KeyRange seen = visible_keys(band, i, kv);
          ASSERT_LE(0, seen.begin);
          ASSERT_LE(seen.begin, seen.end);
          ASSERT_LE(seen.end, kv);
          for (std::int64_t j = 0; j < kv; ++j) {
            const bool got = seen.begin <= j && j < seen.end;
            ASSERT_EQ(got, is_visible(mask, i, j, q, kv))
                << to_string(mask) << " " << i << " " << j << " " << q << "x" << kv;
            ASSERT_EQ(got, i + band.lo <= j && j <= i + band.hi) << to_string(mask);
          }
        }
      }
    }
  }
}

TEST(Band, KeysSeenByAnyRowAreTheUnionOfWhatRowsSee) {
  for (std::int64_t lo = -9; lo <= 9; ++lo) {
    for (std::int64_t hi = -9; hi <= 9; ++hi) {
      for (std::int64_t q = 0; q <= 5; ++q) {
        for (std::int64_t kv = 0; kv <= 5; ++kv) {
          const KeyRange seen = keys_seen_by_any_row({lo, hi}, q, kv);
          ASSERT_LE(seen.begin, seen.end);
          for (std::int64_t j = 0; j < kv; ++j) {
            bool want = false;
            for (std::int64_t i = 0; i < q; ++i) want |= i + lo <= j && j <= i + hi;
            ASSERT_EQ(seen.begin <= j && j < seen.end, want)
                << lo << ".." << hi << " " << q << "x" << kv << " key " << j;
          }
        }
      }
    }
  }
}

TEST(Band, TheWidestWindowOverflowsNothing) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t q : {0, 1, 1000}) {
    for (const std::int64_t kv : {1, 1000}) {
      for (const std::int64_t row : {std::int64_t{0}, q}) {
        EXPECT_EQ(visible_keys(band_of({MaskKind::kWindow, kMost, kMost}, q, kv), row, kv), (KeyRange{0, kv}));
        EXPECT_EQ(visible_keys(band_of({MaskKind::kWindow, kMost, -1}, q, kv), row, kv), (KeyRange{0, kv}));
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

#include "reference/oracle/fast/range_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace ringproof {
namespace {

// Integers: sums are exact in any order.
TEST(RangeTable, GivesSumsAndMaximaOfEveryRangeWhateverCameBefore) {
  constexpr std::int64_t kKeys = 150, kWidth = 3;
  std::vector<double> values;
  for (std::int64_t i = 0; i < kKeys * kWidth; ++i) values.push_back(static_cast<double>((i * i + 5 * i) % 23 - 11));
  const RangeTable table(values.data(), kKeys, kWidth);
  RangeTable::Range range;
  for (std::int64_t begin = 0; begin <= kKeys; begin += 7) {
    for (std::int64_t end = begin; end <= kKeys; end += begin % 2 == 0 ? 1 : 41) {
      table.move(range, {begin, end});
      for (std::int64_t c = 0; c < kWidth; ++c) {
        double sum = 0, maximum = 0;
        for (std::int64_t j = begin; j < end; ++j) {
          sum += std::fabs(values[j * kWidth + c]);
          maximum = std::max(maximum, std::fabs(values[j * kWidth + c]));
        }
        EXPECT_EQ(range.sum[c], sum) << begin << " " << end;
        EXPECT_EQ(range.maximum[c], maximum) << begin << " " << end;
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

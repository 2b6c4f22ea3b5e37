// Rows of a causal mask each see one key more than the row above, rows of a full mask the same keys: both grow a range.
// A window moves both ends, and pays for whole blocks and two ragged ones.

#include "reference/oracle/fast/range_table.h"

#include <algorithm>
#include <cmath>

namespace ringproof {
namespace {

constexpr std::int64_t kRowsPerBlock = 32;

}  // namespace

RangeTable::RangeTable(const double* values, std::int64_t keys, std::int64_t width) : values_(values), width_(width) {
  const std::int64_t blocks = keys / kRowsPerBlock;
  sums_.assign(static_cast<std::size_t>(blocks * width), 0);
  maxima_.assign(sums_.size(), 0);
  for (std::int64_t j = 0; j < blocks * kRowsPerBlock; ++j) {
    double* const sum = sums_.data() + j / kRowsPerBlock * width;
    double* const maximum = maxima_.data() + j / kRowsPerBlock * width;
    for (std::int64_t c = 0; c < width; ++c) {
      const double magnitude = std::fabs(values[j * width + c]);
      sum[c] += magnitude;
      maximum[c] = std::max(maximum[c], magnitude);
    }
  }
}

void RangeTable::add_keys(Range& range, std::int64_t begin, std::int64_t end) const {
  for (std::int64_t j = begin; j < end; ++j) {
    for (std::int64_t c = 0; c < width_; ++c) {
      const double magnitude = std::fabs(values_[j * width_ + c]);
      range.sum[c] += magnitude;
      range.maximum[c] = std::max(range.maximum[c], magnitude);
    }
  }
}

void RangeTable::move(Range& range, const KeyRange& keys) const {
  const bool grows = !range.sum.empty() && range.keys.begin == keys.begin && range.keys.end <= keys.end;
  if (grows && keys.end - range.keys.end < kRowsPerBlock) {
    add_keys(range, range.keys.end, keys.end);
    range.keys = keys;
    return;
  }
  range.keys = keys;
  range.sum.assign(static_cast<std::size_t>(width_), 0);
  range.maximum.assign(static_cast<std::size_t>(width_), 0);
  const std::int64_t first = (keys.begin + kRowsPerBlock - 1) / kRowsPerBlock, last = keys.end / kRowsPerBlock;
  if (first >= last) return add_keys(range, keys.begin, keys.end);
  add_keys(range, keys.begin, first * kRowsPerBlock);
  for (std::int64_t block = first; block < last; ++block) {
    for (std::int64_t c = 0; c < width_; ++c) {
      range.sum[c] += sums_[block * width_ + c];
      range.maximum[c] = std::max(range.maximum[c], maxima_[block * width_ + c]);
    }
  }
  add_keys(range, last * kRowsPerBlock, keys.end);
}

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/mask.h"

namespace ringproof {

/// Sums and maxima of magnitudes over ranges of keys, for `width` columns at once: blocks of keys are summed once, so a
/// range of n keys costs n / 32 rows instead of n. Sums are rounded to nearest, in an order that depends on the range
/// and the row before it alone; maxima are exact.
class RangeTable {
 public:
  /// `values` is [keys][width], and must outlive the table. Magnitudes are taken here.
  RangeTable(const double* values, std::int64_t keys, std::int64_t width);

  /// What the range before held; a default one holds the empty range.
  struct Range {
    KeyRange keys{0, 0};
    std::vector<double> sum, maximum;  ///< [width]
  };

  /// Moves `range` to `keys`: grows it where it only gains keys at its end, else computes it anew.
  void move(Range& range, const KeyRange& keys) const;

 private:
  void add_keys(Range& range, std::int64_t begin, std::int64_t end) const;

  const double* values_;
  std::int64_t width_;
  std::vector<double> sums_, maxima_;  // [blocks][width]
};

}  // namespace ringproof

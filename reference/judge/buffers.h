#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/layout.h"
#include "reference/spec/tensor.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// One tensor as a candidate sees it: strided as the Case's memory says, between guard zones, every byte that
/// is not an element a NaN pattern that changes from call to call. Remembers what it held, so that writes
/// outside show.
class PlacedTensor {
 public:
  /// Lays the memory out anew; memory is kept between calls, so that other data comes to the same address.
  /// `call` chooses the pattern.
  void place(Dtype dtype, const Shape& shape, const StridedLayout& layout, std::uint64_t call);

  /// What the candidate gets. Elements of an output hold the pattern at first.
  const TensorView& view() const { return view_; }

  /// Remembers the present bytes as what must be found again. Call after the elements of an input are
  /// written.
  void remember() { remembered_ = bytes_; }

  /// Counts bytes that differ from what was remembered, elements included (inputs) or left out (outputs).
  std::int64_t bytes_changed(bool elements_too);

  /// Counts elements that still hold the pattern: never written. The first is named in `first` as (batch,
  /// head, row, column).
  std::int64_t elements_unwritten(std::string& first) const;

 private:
  std::vector<std::byte> bytes_, remembered_;
  TensorView view_;
};

/// The memory one rank's call uses. Kept by the caller between calls.
struct CallBuffers {
  PlacedTensor q, k, v, out, lse;
};

/// Memory for calls of one candidate: one set per rank.
struct Buffers {
  std::vector<CallBuffers> ranks;
  MaskTables mask_tables;
  std::uint64_t calls = 0;
};

/// The finite poison of slots that no row sees, different on every call: large, but its square times 2^12 head dims is
/// finite in the accumulators a storage dtype has by default.
double finite_poison(Dtype dtype, std::uint64_t call, std::int64_t index);

}  // namespace ringproof

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "reference/judge/mapping.h"
#include "reference/spec/candidate.h"
#include "reference/spec/layout.h"
#include "reference/spec/tensor.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// One tensor as a candidate sees it: strided as the Case's memory says, between guard zones, every byte that
/// is not an element a NaN pattern that changes from call to call. Remembers what it held, so that writes
/// outside show. Of a layout that spreads over terabytes it fills and examines what lies around elements only.
class PlacedTensor {
 public:
  /// Lays the memory out anew. Element 0 keeps its address from call to call as far as its memory fits what is there,
  /// so that other data comes to the same address; a layout with strides beyond 2^31, or one that `ends_at_page`, has
  /// memory of its own. With `ends_at_page` nobody may touch what follows the last element. `call` chooses the
  /// pattern. Throws Error when the machine does not give the memory.
  void place(Dtype dtype, const Shape& shape, const StridedLayout& layout, bool ends_at_page, std::uint64_t call);

  /// From now on the memory can be mapped by another process too. Call before it is placed.
  void be_shared() { is_shared_ = true; }

  /// Its shared memory, for another process; nothing of a view of another tensor's.
  void add_regions(bool is_output, std::vector<SharedRegion>& regions) const;

  /// Nothing of its own: a view of another tensor's memory, which examines it.
  void share(const TensorView& view);

  /// What the candidate gets. Elements of an output hold the pattern at first.
  const TensorView& view() const { return view_; }

  /// Remembers the present bytes as what must be found again. Call after the elements of an input are
  /// written.
  void remember();

  /// Counts bytes that differ from what was remembered, elements included (inputs) or left out (outputs).
  std::int64_t bytes_changed(bool elements_too) const;

  /// Counts elements that still hold the pattern: never written. The first is named in `first` as (batch,
  /// head, row, column).
  std::int64_t elements_unwritten(std::string& first) const;

  /// Bytes behind the end of the last element that somebody touched first, where it ends at a page; else negative.
  std::ptrdiff_t touched_beyond() const { return special_.touched_at(); }

 private:
  // A run of bytes that is filled, remembered and examined.
  struct Island {
    std::byte* begin;
    std::size_t bytes, remembered_at;
  };
  std::byte* find_memory(std::int64_t span, std::size_t size, bool is_spread, bool ends_at_page);
  void find_islands(const StridedLayout& layout, bool is_spread, bool ends_at_page);
  std::vector<std::byte> present() const;
  std::size_t remembered_place(const std::byte* at) const;

  Mapping map(std::size_t bytes) const { return is_shared_ ? Mapping::shared(bytes) : Mapping(bytes); }

  bool is_shared_ = false;
  Mapping usual_, special_;
  std::vector<Island> islands_;
  std::vector<std::byte> remembered_;
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
  std::string case_line{};  ///< of the latest call that returned; "" while its buffers hold nothing to be found again
  std::size_t ranks_used = 0;  ///< by that call
};

/// What changed in the buffers after the latest call had returned and been examined: a sentence for each tensor, naming
/// its Case. Whoever answers late does not count, and is a fault.
std::vector<std::string> written_late(const Buffers& buffers);

}  // namespace ringproof

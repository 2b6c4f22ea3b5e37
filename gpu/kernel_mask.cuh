#pragma once

// Which keys a row sees, asked from inside a kernel: the one answer all kernels here share.
//
// Band and documents leave each row one run of keys, its span; span of row 0, row 1, ... both ends never fall. So the
// first row's first key and the last row's last key enclose what a tile of rows sees, and a tile of keys is seen whole
// by all rows iff the first row's span reaches its end and the last row's span begins before it. Blocks then take keys
// out of a span; they are asked by tile and, where that does not settle it, once per row and tile of keys as bits.
//
//   const KeySpan all = span_of_rows(prm, row0, row0 + rows);      // loop over the key tiles that meet all.first..last
//   switch (sight_of(prm, row0, row0 + rows, key0, key0 + kTile))  // kNone: skip, kAll: no mask, kSome:
//     bits = visible_bits<kTile>(prm, span_of_row(prm, row), row, key0);   // bit c: the row sees key key0 + c
//
// Rows past seqlen_q see nothing. Nobody sees keys past seqlen_kv.

#include <cstdint>

#include "gpu/flash_params.h"
#include "gpu/simt/simt.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

/// Keys first..last, both inclusive; none where first > last.
struct KeySpan {
  std::int64_t first, last;
};

/// The document that holds `row`: the last that begins at or before it, since empty ones before it begin there too.
/// Requires a row before the end of the last document.
__device__ inline std::int64_t document_of(const FlashParams& prm, std::int64_t row) {
  std::int64_t low = 0, high = prm.documents;  // starts[low] <= row < starts[high]
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    if (prm.document_starts_q[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

/// What band and documents let `row` see.
__device__ inline KeySpan span_of_row(const FlashParams& prm, std::int64_t row) {
  const std::int64_t zero = 0;
  if (row >= prm.seqlen_q) return {prm.seqlen_kv, prm.seqlen_kv - 1};
  std::int64_t first = max(zero, row + prm.band_lo);
  std::int64_t last = min(prm.seqlen_kv - 1, row + prm.band_hi);
  if (prm.document_starts_q == nullptr) return {first, last};
  if (row >= prm.document_starts_q[prm.documents]) {
    const std::int64_t end = prm.document_starts_kv[prm.documents];
    return {max(first, end), min(last, end - 1)};
  }
  const std::int64_t document = document_of(prm, row);
  const std::int64_t begin = prm.document_starts_kv[document], end = prm.document_starts_kv[document + 1];
  const std::int64_t rows_behind = prm.document_causal ? prm.document_starts_q[document + 1] - 1 - row : 0;
  first = max(first, begin);
  last = min(last, max(begin, end - rows_behind) - 1);
  return {first, last};
}

/// A span that holds the spans of rows row_begin .. row_end - 1. Requires row_begin < min(row_end, seqlen_q).
__device__ inline KeySpan span_of_rows(const FlashParams& prm, std::int64_t row_begin, std::int64_t row_end) {
  return {span_of_row(prm, row_begin).first, span_of_row(prm, min(row_end, prm.seqlen_q) - 1).last};
}

/// Whether the tile (row, key) lies in is visible. Requires blocks, a row and a key that exist.
__device__ inline bool block_is_visible(const FlashParams& prm, std::int64_t block_row, std::int64_t block_key) {
  const std::int64_t blocks_kv = (prm.seqlen_kv - 1) / prm.block_kv + 1;
  return prm.block_mask[block_row * blocks_kv + block_key] != 0;
}

/// How much of a tile of rows and keys is visible. kNone and kAll are certain; kSome says that one has to look.
enum class Sight { kNone, kSome, kAll };

/// What the flags of blocks say about rows row_begin .. row_end - 1 and keys key_begin .. key_end - 1, all of which
/// exist. Where a tile holds many blocks the answer is kSome, unasked.
__device__ inline Sight sight_of_blocks(const FlashParams& prm, std::int64_t row_begin, std::int64_t row_end,
                                        std::int64_t key_begin, std::int64_t key_end) {
  constexpr std::int64_t kFlagsMax = 64;
  const std::int64_t block_row = row_begin / prm.block_q, block_key = key_begin / prm.block_kv;
  const std::int64_t rows = (row_end - 1) / prm.block_q - block_row + 1;
  const std::int64_t keys = (key_end - 1) / prm.block_kv - block_key + 1;
  if (rows * keys > kFlagsMax) return Sight::kSome;
  std::int64_t visible = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < keys; ++c) visible += block_is_visible(prm, block_row + r, block_key + c) ? 1 : 0;
  }
  return visible == 0 ? Sight::kNone : visible == rows * keys ? Sight::kAll : Sight::kSome;
}

/// How much of rows row_begin .. row_end - 1 and keys key_begin .. key_end - 1 is visible. Rows past seqlen_q are left
/// out of the question, keys past seqlen_kv are hidden. Requires row_begin < seqlen_q and that all threads of a block
/// ask the same where the answer decides about a barrier.
__device__ inline Sight sight_of(const FlashParams& prm, std::int64_t row_begin, std::int64_t row_end,
                                 std::int64_t key_begin, std::int64_t key_end) {
  row_end = min(row_end, prm.seqlen_q);
  const KeySpan top = span_of_row(prm, row_begin), bottom = span_of_row(prm, row_end - 1);
  if (bottom.last < key_begin || top.first >= key_end) return Sight::kNone;
  const bool whole = bottom.first <= key_begin && top.last >= key_end - 1;
  if (prm.block_mask == nullptr) return whole ? Sight::kAll : Sight::kSome;
  const Sight blocks = sight_of_blocks(prm, row_begin, row_end, key_begin, min(key_end, prm.seqlen_kv));
  return blocks == Sight::kAll && !whole ? Sight::kSome : blocks;
}

/// The lowest `count` bits of 64.
__device__ inline std::uint64_t low_bits(std::int64_t count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

/// Bit c says whether `row`, whose span is given, sees key key0 + c, for c below kCount.
template <int kCount>
__device__ std::uint64_t visible_bits(const FlashParams& prm, const KeySpan& span, std::int64_t row,
                                      std::int64_t key0) {
  static_assert(kCount <= 64);
  const std::int64_t zero = 0, count = kCount;
  const std::int64_t begin = min(count, max(zero, span.first - key0));
  const std::int64_t end = min(count, max(zero, span.last + 1 - key0));
  if (begin >= end) return 0;
  std::uint64_t bits = low_bits(end) & ~low_bits(begin);
  if (prm.block_mask == nullptr) return bits;
  const std::int64_t block_row = row / prm.block_q, block_last = (key0 + end - 1) / prm.block_kv;
  for (std::int64_t block = (key0 + begin) / prm.block_kv; block <= block_last; ++block) {
    if (block_is_visible(prm, block_row, block)) continue;
    const std::int64_t hidden_begin = max(zero, block * prm.block_kv - key0);
    const std::int64_t hidden_end = min(count, (block + 1) * prm.block_kv - key0);
    bits &= ~(low_bits(hidden_end) & ~low_bits(hidden_begin));
  }
  return bits;
}

}  // namespace ringproof::SIMT_BACKEND

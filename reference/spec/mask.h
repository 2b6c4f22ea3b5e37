#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ringproof {

/// The values are those of rp_mask in the plug-in ABI. There is no plain "causal": it always says how it is
/// aligned.
enum class MaskKind : std::int32_t {
  kFull = 0,
  kCausalTopLeft = 1,
  kCausalBottomRight = 2,
  kWindow = 3,
  kDocument = 4,
  kBlockSparse = 5,
};

/// Which keys a query row may see. Rows and keys count from 0.
struct Mask {
  MaskKind kind;
  std::int64_t window_left = -1;   ///< kWindow: keys to the left of the bottom-right diagonal; -1 unbounded
  std::int64_t window_right = -1;  ///< kWindow: keys to its right, inclusive; -1 unbounded
  std::vector<std::int64_t> document_lengths_q{};   ///< kDocument: lengths, zero allowed; a rest belongs to none
  std::vector<std::int64_t> document_lengths_kv{};  ///< as many as document_lengths_q
  bool document_causal = false;                     ///< kDocument: bottom-right causal inside each document
  std::int64_t block_q = 0, block_kv = 0;           ///< kBlockSparse: tile sizes
  double block_share_kept = 0;                      ///< kBlockSparse: share of tiles that stay visible
  std::uint64_t block_seed = 0;                     ///< kBlockSparse: its flags are a pure function of this

  bool operator==(const Mask&) const = default;
};

/// Key j is visible to row i iff i + lo <= j <= i + hi. What kernels and local steps take; shards see shifted
/// ones.
struct Band {
  std::int64_t lo, hi;
  bool operator==(const Band&) const = default;
};

/// Stands for "no limit" on a side of a band; far beyond any length, and safe to add a length to.
inline constexpr std::int64_t kUnbounded = std::int64_t{1} << 61;

/// Keys [begin, end); empty when begin >= end is normalised to begin == end.
struct KeyRange {
  std::int64_t begin, end;
  std::int64_t count() const { return end - begin; }
  bool operator==(const KeyRange&) const = default;
};

/// The band of a mask over whole sequences: top-left causal (-inf, 0], bottom-right causal (-inf, kv - q],
/// window(l, r) [kv - q - l, kv - q + r]. Requires a mask that is a band: not kDocument, not kBlockSparse.
Band band_of(const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv);

/// Keys of [0, seqlen_kv) that row `row` sees under `band`.
KeyRange visible_keys(const Band& band, std::int64_t row, std::int64_t seqlen_kv);

/// Keys that at least one row of [0, seqlen_q) sees. Contiguous, because consecutive rows' ranges touch or
/// overlap or both lie outside.
KeyRange keys_seen_by_any_row(const Band& band, std::int64_t seqlen_q, std::int64_t seqlen_kv);

/// The mask as it stands in a Case line: `full`, `causal_top_left`, `window(63,0)`, ...
std::string to_string(const Mask& mask);

/// The name of a kind alone: `full`, `causal_top_left`, `causal_bottom_right`, `window`, `document`,
/// `block_sparse`.
const char* to_string(MaskKind kind);

}  // namespace ringproof

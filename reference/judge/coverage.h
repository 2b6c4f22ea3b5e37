#pragma once

#include <array>
#include <cstdint>

#include "reference/judge/reference.h"

namespace ringproof {

/// Keys of a tile, for what depends on tiles: the largest that published kernels walk by at common head dims. A maximum
/// that rises from one tile of 128 to the next rises for a kernel of smaller tiles too.
inline constexpr std::int64_t kCoverageTileKv = 128;

/// Keys a row may see and still count towards the measures of rescaling and of merges: O shrinks as 1 / sqrt(n) and its
/// bound does not, so the floors, measured with rows of this length, hold for shorter rows only.
inline constexpr std::int64_t kCoverageKeysMax = 1024;

/// How much of what an attention kernel can do wrong a Case makes it do, in shares of the softmax: a missing rescale
/// where nothing is rescaled, or where what stands there weighs nothing, is no fault that numbers could show. Each
/// field is a mean over the Case's rows that see a key and at most kCoverageKeysMax, unless it says otherwise.
struct Coverage {
  /// Sum over the tiles in which the row's maximum rises, by a factor 1 / r, of the mass (final softmax weights) of all
  /// keys before that tile times |1 - r|: tiles in ascending order.
  double rescale_mass = 0;
  /// The weight of the visible key at the row's edge, where the mask ends its keys before the tensor does; the lightest
  /// of several edges. Mean over the rows of any length that have such an edge.
  double edge_mass = 0;
  /// Tiles that hold keys a row sees and keys it does not, counted for every row looked at, of any length.
  std::int64_t tiles_partly_masked = 0;
  /// Of grouped heads: kv heads of one batch whose values differ. 0 where every query head has a kv head of its own.
  std::int64_t kv_groups = 0;
  /// Where partial results of ranks are merged: how far the larger side's weight lies above one half, in the most
  /// lopsided merge of the row; merges in the order of a ring, sides that see nothing left out.
  double merge_dominance = 0;
  /// The magnitude of the running partial output over P |V| of its merge with another, in the same column, in units
  /// of n + 3 (|lse| + |M| + 20), the roundings that the row's bound grants relative to P |V|: large where that side
  /// weighs nearly nothing. The tenth largest of the Case: what one element loses is a matter of luck.
  double merge_leverage = 0;
  /// Rows by the keys they see: none, 1, 2 to 64, 65 to 1,024, more.
  std::array<std::int64_t, 5> rows_by_count{};
};

/// Measures it, on at most so many rows, evenly spread, as cost two million products; a row whose lse is not
/// finite is passed over. Rows by count are exact for the rows of the reference.
Coverage coverage_of(const Reference& reference, std::int64_t tile_kv = kCoverageTileKv);

/// Of both together: the greater of every measure (what one Case exercises no other undoes), counts added up.
Coverage both(const Coverage& one, const Coverage& other);

}  // namespace ringproof

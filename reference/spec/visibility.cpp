// Bands are intervals already. Documents d = 0, 1, ... lie behind one another, document d at rows [a_d, a_(d+1)) and
// keys [b_d, b_(d+1)), a and b the cumulative lengths; row i of document d sees
//
//   keys [b_d, b_(d+1)),   causal: [b_d, min(b_(d+1), b_(d+1) - (a_(d+1) - 1 - i)))        the last row sees them all
//
// and what lies behind the last document sees nothing and is seen by nothing. A tile (r, s) of block_sparse, number
// t = r ceil(seqlen_kv / block_kv) + s, is visible iff
//
//   (bits(3) >> 11) 2^-53 < share kept        bits(3) of the mask's seed, tensor 7, index t, as inputs.cpp defines them
//
// so that share 0 hides and share 1 shows every tile. Tile numbers depend on seqlen_kv: a Case of another length has
// other flags.

#include "reference/spec/visibility.h"

#include <algorithm>

#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

std::int64_t tiles_of(std::int64_t length, std::int64_t tile) { return length / tile + (length % tile != 0); }

// The document that holds the token: the last that begins at or before it, as documents without tokens end there too.
std::size_t document_of(const std::vector<std::int64_t>& starts, std::int64_t token) {
  return static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), token) - starts.begin()) - 1;
}

}  // namespace

std::vector<std::int64_t> cumulative_lengths(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> starts{0};
  for (const std::int64_t length : lengths) starts.push_back(starts.back() + length);
  return starts;
}

std::vector<std::uint8_t> block_flags(const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  const std::int64_t tiles = tiles_of(seqlen_q, mask.block_q) * tiles_of(seqlen_kv, mask.block_kv);
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(tiles));
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::uint64_t bits = hashed_bits(mask.block_seed, TensorRole::kBlockMask, tile, 3);
    flags[static_cast<std::size_t>(tile)] = static_cast<double>(bits >> 11) * 0x1p-53 < mask.block_share_kept;
  }
  return flags;
}

void MaskTables::hand_to(Problem& problem) {
  const Mask& mask = problem.mask;
  const bool has_documents = mask.kind == MaskKind::kDocument, has_blocks = mask.kind == MaskKind::kBlockSparse;
  const auto fill = [](auto& table, const auto& from) { table.assign(from.begin(), from.end()); };
  if (has_documents) {
    fill(cu_seqlens_q, cumulative_lengths(mask.document_lengths_q));
    fill(cu_seqlens_kv, cumulative_lengths(mask.document_lengths_kv));
  }
  if (has_blocks) fill(block_mask, block_flags(mask, problem.seqlen_q, problem.seqlen_kv));
  problem.cu_seqlens_q = has_documents ? cu_seqlens_q.data() : nullptr;
  problem.cu_seqlens_kv = has_documents ? cu_seqlens_kv.data() : nullptr;
  problem.block_mask = has_blocks ? block_mask.data() : nullptr;
}

Visibility::Visibility(const Problem& problem)
    : kind_(problem.mask.kind),
      document_causal_(problem.mask.document_causal),
      seqlen_q_(problem.seqlen_q),
      seqlen_kv_(problem.seqlen_kv),
      block_q_(problem.mask.block_q),
      block_kv_(problem.mask.block_kv) {
  const Mask& mask = problem.mask;
  if (kind_ == MaskKind::kDocument) {
    starts_q_ = cumulative_lengths(mask.document_lengths_q);
    starts_kv_ = cumulative_lengths(mask.document_lengths_kv);
  } else if (kind_ == MaskKind::kBlockSparse) {
    tile_is_visible_ = block_flags(mask, seqlen_q_, seqlen_kv_);
    any_row_sees_tile_of_keys_.resize(static_cast<std::size_t>(tiles_of(seqlen_kv_, block_kv_)));
    for (std::size_t tile = 0; tile < tile_is_visible_.size(); ++tile) {
      any_row_sees_tile_of_keys_[tile % any_row_sees_tile_of_keys_.size()] |= tile_is_visible_[tile];
    }
  } else {
    band_ = band_of(mask, seqlen_q_, seqlen_kv_);
  }
}

KeyRange Visibility::document_keys(std::int64_t row) const {
  if (row >= starts_q_.back()) return {0, 0};
  const std::size_t document = document_of(starts_q_, row);
  const std::int64_t begin = starts_kv_[document], end = starts_kv_[document + 1];
  const std::int64_t rows_behind = starts_q_[document + 1] - 1 - row;
  return {begin, document_causal_ ? std::max(begin, end - rows_behind) : end};
}

std::vector<KeyRange> Visibility::ranges(std::int64_t row) const {
  if (kind_ != MaskKind::kBlockSparse) {
    const KeyRange keys = kind_ == MaskKind::kDocument ? document_keys(row) : visible_keys(band_, row, seqlen_kv_);
    return keys.count() == 0 ? std::vector<KeyRange>{} : std::vector<KeyRange>{keys};
  }
  std::vector<KeyRange> found;
  const std::int64_t tiles = tiles_of(seqlen_kv_, block_kv_), first = row / block_q_ * tiles;
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    if (!tile_is_visible_[static_cast<std::size_t>(first + tile)]) continue;
    const std::int64_t begin = tile * block_kv_;
    const std::int64_t end = tile + 1 == tiles ? seqlen_kv_ : begin + block_kv_;
    if (!found.empty() && found.back().end == begin) {
      found.back().end = end;
    } else {
      found.push_back({begin, end});
    }
  }
  return found;
}

std::int64_t Visibility::count(std::int64_t row) const {
  std::int64_t keys = 0;
  for (const KeyRange& range : ranges(row)) keys += range.count();
  return keys;
}

bool Visibility::sees(std::int64_t row, std::int64_t key) const {
  if (kind_ == MaskKind::kBlockSparse) {
    const std::int64_t tile = row / block_q_ * tiles_of(seqlen_kv_, block_kv_) + key / block_kv_;
    return tile_is_visible_[static_cast<std::size_t>(tile)] != 0;
  }
  const KeyRange keys = kind_ == MaskKind::kDocument ? document_keys(row) : visible_keys(band_, row, seqlen_kv_);
  return keys.begin <= key && key < keys.end;
}

bool Visibility::any_row_sees(std::int64_t key) const {
  if (kind_ == MaskKind::kBlockSparse)
    return any_row_sees_tile_of_keys_[static_cast<std::size_t>(key / block_kv_)] != 0;
  if (kind_ == MaskKind::kDocument) {
    if (key >= starts_kv_.back()) return false;
    const std::size_t document = document_of(starts_kv_, key);
    return starts_q_[document] < starts_q_[document + 1];  // its last row sees all of its keys
  }
  const KeyRange keys = keys_seen_by_any_row(band_, seqlen_q_, seqlen_kv_);
  return keys.begin <= key && key < keys.end;
}

}  // namespace ringproof

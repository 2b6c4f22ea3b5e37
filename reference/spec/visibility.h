#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/problem.h"

namespace ringproof {

/// Which keys each row of the whole problem sees, for every mask (the table of contracts in semantics.md). The one
/// answer to that question: oracle, judge and recipes ask here, candidates never do.
///
/// Rows and keys are global; the topology means nothing here. Requires a Problem that passed validate() and
/// whose block_sparse tiles can be counted in memory (require_judgeable). Owns all it needs; several threads may ask.
class Visibility {
 public:
  explicit Visibility(const Problem& problem);

  /// The keys row `row` sees: ascending, disjoint, not touching, none empty; no range for a row that sees nothing.
  std::vector<KeyRange> ranges(std::int64_t row) const;

  /// How many keys that is.
  std::int64_t count(std::int64_t row) const;

  /// Whether row `row` sees key `key`.
  bool sees(std::int64_t row, std::int64_t key) const;

  /// Whether at least one row sees it. Keys that none sees are hidden slots.
  bool any_row_sees(std::int64_t key) const;

 private:
  KeyRange document_keys(std::int64_t row) const;

  MaskKind kind_;
  bool document_causal_;
  std::int64_t seqlen_q_, seqlen_kv_, block_q_, block_kv_;
  Band band_{};
  std::vector<std::int64_t> starts_q_, starts_kv_;       // documents + 1 each
  std::vector<std::uint8_t> tile_is_visible_;            // [tiles of rows][tiles of keys]
  std::vector<std::uint8_t> any_row_sees_tile_of_keys_;  // [tiles of keys]
};

/// What a candidate is handed of documents and blocks besides the mask: the arrays rp_problem points to. Filling again
/// keeps the memory, so that other documents come to the same address.
struct MaskTables {
  std::vector<std::int64_t> cu_seqlens_q, cu_seqlens_kv;
  std::vector<std::uint8_t> block_mask;

  /// Writes what the problem's mask needs, and lets its pointers show it; the others become null.
  void hand_to(Problem& problem);
};

/// The cumulative lengths of documents as kernels take them: count + 1 numbers, the first 0.
std::vector<std::int64_t> cumulative_lengths(const std::vector<std::int64_t>& lengths);

/// The flags of a block_sparse mask as kernels take them: 1 visible, 0 hidden, row-major over ceil(seqlen_q / block_q)
/// x ceil(seqlen_kv / block_kv) tiles. A pure function of the mask and the lengths, by the formula in visibility.cpp.
std::vector<std::uint8_t> block_flags(const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv);

}  // namespace ringproof

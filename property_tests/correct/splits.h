#pragma once

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {

/// Partial attention over one split of the keys: normalised, with its lse; lse -inf for a split without visible keys.
template <class T>
Answer<T> partial_of(const Row<T>& row, std::int64_t key_begin, std::int64_t key_end) {
  Answer<T> partial{std::vector<T>(static_cast<std::size_t>(row.problem.head_dim_v))};
  const auto begin = std::lower_bound(row.keys.begin(), row.keys.end(), key_begin);
  const auto end = std::lower_bound(begin, row.keys.end(), key_end);
  const std::span<const std::int64_t> keys(begin, end);
  if (keys.empty()) return partial;
  Running<T> state(partial.out.size());
  for (std::size_t at = 0; at < keys.size(); at += 16) add_tile(row, tile_of(keys, at, 16), state);
  finish(state, partial);
  return partial;
}

inline constexpr int kSplits = 5;

/// Attention over each of five splits of the key axis, of which two are always empty.
template <class T>
std::vector<Answer<T>> partials_of(const Row<T>& row) {
  const std::int64_t n = row.problem.seqlen_kv;
  const std::int64_t ends[kSplits + 1]{0, 0, n / 3, n / 3, n - n / 4, n};
  std::vector<Answer<T>> partials;
  for (int split = 0; split < kSplits; ++split) partials.push_back(partial_of(row, ends[split], ends[split + 1]));
  return partials;
}

}  // namespace ringproof::correct

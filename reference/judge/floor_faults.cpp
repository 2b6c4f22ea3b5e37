// Each fault is the exact answer on an edited Case (candidates.md): a key's weight becomes 0 or double, one key joins
// each row, all keys and values are another head's, or one tile's mass keeps exp(S - m) of the maximum m it knew. The
// tile is the row's first, at the first rise after it; its keys weigh exp(m_new - m) too much, in numerator and
// denominator alike, which is the milder form of that fault.

#include "reference/judge/floor_faults.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

// The tile most published kernels step by; shorter rows are stepped by half their length.
constexpr std::int64_t kTileKeys = 64;

std::int64_t last_key(const Visibility& visibility, std::int64_t seqlen_kv) {
  for (std::int64_t key = seqlen_kv - 1; key >= 0; --key) {
    if (visibility.any_row_sees(key)) return key;
  }
  return -1;
}

// The key a row would see if its mask reached one further: behind its last key, else before its first. -1: none.
std::int64_t key_beyond_edge(const AlteredRows& rows, std::int64_t at) {
  const auto keys = rows.keys(at);
  if (keys.empty()) return -1;
  if (keys.back() + 1 < rows.problem().seqlen_kv) return keys.back() + 1;
  return keys.front() - 1;
}

// What the keys of the first tile weigh too much, as a score; 0 where the maximum never rises after it.
double skipped_rescale(std::span<const double> scores, std::int64_t tile) {
  if (static_cast<std::int64_t>(scores.size()) <= tile) return 0;
  const double before = *std::max_element(scores.begin(), scores.begin() + tile);
  for (std::int64_t begin = tile; begin < static_cast<std::int64_t>(scores.size()); begin += tile) {
    const auto end = std::min<std::int64_t>(begin + tile, static_cast<std::int64_t>(scores.size()));
    const double maximum = *std::max_element(scores.begin() + begin, scores.begin() + end);
    if (maximum > before) return maximum - before;
  }
  return 0;
}

using Edit = std::optional<RowAnswer>;

Edit change_of_key(const AlteredRows& rows, std::int64_t at, std::int64_t key, double factor) {
  const auto keys = rows.keys(at);
  if (!std::binary_search(keys.begin(), keys.end(), key)) return std::nullopt;
  return rows.reweighed(at, std::array{KeyChange{key, factor}});
}

Edit edge_moved(const AlteredRows& rows, std::int64_t at) {
  const std::int64_t key = key_beyond_edge(rows, at);
  if (key < 0) return std::nullopt;
  return rows.reweighed(at, std::array{KeyChange{key, 1, true}});
}

Edit heads_rotated(const AlteredRows& rows, std::int64_t at) {
  const std::int64_t kv_head = (rows.kv_head_of(at) + 1) % rows.problem().heads_kv;
  const auto keys = rows.keys(at);
  if (rows.problem().heads_kv == 1 || keys.empty()) return std::nullopt;
  std::vector<double> scores;
  for (const std::int64_t key : keys) scores.push_back(rows.score(at, key, kv_head));
  return rows.recomputed(at, keys, scores, kv_head);
}

Edit rescale_skipped(const AlteredRows& rows, std::int64_t at) {
  const auto keys = rows.keys(at);
  const std::int64_t tile = std::min<std::int64_t>(kTileKeys, static_cast<std::int64_t>(keys.size() + 1) / 2);
  const double too_much = skipped_rescale(rows.scores(at), std::max<std::int64_t>(tile, 1));
  if (too_much == 0) return std::nullopt;
  std::vector<double> scores(rows.scores(at).begin(), rows.scores(at).end());
  for (std::int64_t j = 0; j < tile; ++j) scores[static_cast<std::size_t>(j)] += too_much;
  return rows.recomputed(at, keys, scores, rows.kv_head_of(at));
}

Edit edited(const AlteredRows& rows, FloorFault fault, std::int64_t key, std::int64_t at) {
  switch (fault) {
    case FloorFault::kLastKeyDropped: return change_of_key(rows, at, key, 0);
    case FloorFault::kKeyDoubled: return change_of_key(rows, at, key, 2);
    case FloorFault::kMaskEdgeMoved: return edge_moved(rows, at);
    case FloorFault::kKvHeadsRotated: return heads_rotated(rows, at);
    case FloorFault::kRescaleSkipped: return rescale_skipped(rows, at);
  }
  assert_that(false, "a FloorFault is one of its five values");
  return std::nullopt;
}

// Why no row could be edited, and whether that is because no kernel can have the fault here.
FaultyAnswer nothing_edited(FloorFault fault, std::int64_t keys_max) {
  switch (fault) {
    case FloorFault::kMaskEdgeMoved: return {false, "no row has a mask edge", {}};
    case FloorFault::kKvHeadsRotated: return {false, "one kv head", {}};
    case FloorFault::kRescaleSkipped: return {keys_max > 1, "the maximum never rises after the first tile", {}};
    default: return {false, "no row sees a key", {}};
  }
}

}  // namespace

const char* to_string(FloorFault fault) {
  static constexpr std::array kNames{"last key dropped", "a key doubled", "mask edge moved", "kv heads rotated",
                                     "a rescale skipped"};
  return kNames.at(static_cast<std::size_t>(fault));
}

std::int64_t middle_key(const Visibility& visibility, std::int64_t seqlen_kv) {
  const std::int64_t last = last_key(visibility, seqlen_kv);
  std::int64_t first = 0;
  while (first <= last && !visibility.any_row_sees(first)) ++first;
  std::int64_t key = last < 0 ? -1 : first + (last - first) / 2;
  while (key >= 0 && !visibility.any_row_sees(key)) ++key;  // last is seen
  return key;
}

FaultyAnswer with_fault(const AlteredRows& rows, FloorFault fault) {
  const std::int64_t seqlen_kv = rows.problem().seqlen_kv;
  const std::int64_t key = fault == FloorFault::kLastKeyDropped ? last_key(rows.visibility(), seqlen_kv)
                                                                : middle_key(rows.visibility(), seqlen_kv);
  std::vector<Edit> edits;
  std::int64_t keys_max = 0;
  for (std::int64_t at = 0; at < rows.size(); ++at) {
    edits.push_back(edited(rows, fault, key, at));
    keys_max = std::max(keys_max, static_cast<std::int64_t>(rows.keys(at).size()));
  }
  if (std::none_of(edits.begin(), edits.end(), [](const Edit& row) { return row.has_value(); })) {
    return nothing_edited(fault, keys_max);
  }
  FaultyAnswer answer{true, "", rows.answered([&](std::int64_t at) { return edits[static_cast<std::size_t>(at)]; })};
  const Got& exact = rows.exact();
  if (exact.out.bytes() == answer.got.out.bytes() && exact.lse.bytes() == answer.got.lse.bytes()) {
    return {true, "it changes no element", {}};
  }
  return answer;
}

}  // namespace ringproof

#include "reference/spec/mask.h"

#include <algorithm>
#include <array>

#include "reference/spec/error.h"
#include "reference/spec/text.h"

namespace ringproof {

Band band_of(const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  const std::int64_t diagonal = seqlen_kv - seqlen_q;  // bottom-right: the last row sees the last key
  switch (mask.kind) {
    case MaskKind::kFull: return {-kUnbounded, kUnbounded};
    case MaskKind::kCausalTopLeft: return {-kUnbounded, 0};
    case MaskKind::kCausalBottomRight: return {-kUnbounded, diagonal};
    case MaskKind::kWindow:
      return {mask.window_left < 0 ? -kUnbounded : diagonal - std::min(mask.window_left, kUnbounded),
              mask.window_right < 0 ? kUnbounded : diagonal + std::min(mask.window_right, kUnbounded)};
    case MaskKind::kDocument:
    case MaskKind::kBlockSparse: break;
  }
  assert_that(false, "only full, causal and window masks are one band");
  return {};
}

KeyRange visible_keys(const Band& band, std::int64_t row, std::int64_t seqlen_kv) {
  const std::int64_t begin = std::clamp<std::int64_t>(row + band.lo, 0, seqlen_kv);
  const std::int64_t end = std::clamp<std::int64_t>(row + band.hi + 1, begin, seqlen_kv);
  return {begin, end};
}

KeyRange keys_seen_by_any_row(const Band& band, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  if (seqlen_q == 0 || band.lo > band.hi) return {0, 0};
  const std::int64_t begin = std::clamp<std::int64_t>(band.lo, 0, seqlen_kv);
  const std::int64_t end = std::clamp<std::int64_t>(seqlen_q - 1 + band.hi + 1, begin, seqlen_kv);
  return {begin, end};
}

const char* to_string(MaskKind kind) {
  static constexpr std::array kNames{"full",   "causal_top_left", "causal_bottom_right",
                                     "window", "document",        "block_sparse"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::string to_string(const Mask& mask) {
  std::string text = to_string(mask.kind);
  const auto joined = [](const std::vector<std::int64_t>& lengths) {
    std::string sum;
    for (const std::int64_t length : lengths) sum += (sum.empty() ? "" : "+") + std::to_string(length);
    return sum;
  };
  switch (mask.kind) {
    case MaskKind::kWindow:
      return text + "(" + std::to_string(mask.window_left) + "," + std::to_string(mask.window_right) + ")";
    case MaskKind::kDocument:
      return text + "(" + joined(mask.document_lengths_q) + "," + joined(mask.document_lengths_kv) + ")" +
             (mask.document_causal ? "+causal" : "");
    case MaskKind::kBlockSparse:
      return text + "(" + std::to_string(mask.block_q) + "x" + std::to_string(mask.block_kv) + ",keep" +
             shortest(mask.block_share_kept) + ":" + std::to_string(mask.block_seed) + ")";
    default: return text;
  }
}

}  // namespace ringproof

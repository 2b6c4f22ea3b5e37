#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

bool sees_in_document(const Problem& p, std::int64_t row, std::int64_t key) {
  const auto documents = static_cast<std::int64_t>(p.mask.document_lengths_q.size());
  for (std::int64_t document = 0; document < documents; ++document) {
    const bool holds_row = p.cu_seqlens_q[document] <= row && row < p.cu_seqlens_q[document + 1];
    const bool holds_key = p.cu_seqlens_kv[document] <= key && key < p.cu_seqlens_kv[document + 1];
    const std::int64_t rows_behind = p.cu_seqlens_q[document + 1] - row;
    const std::int64_t keys_behind = p.cu_seqlens_kv[document + 1] - key;
    if (holds_row) return holds_key && (!p.mask.document_causal || rows_behind <= keys_behind);
  }
  return false;
}

}  // namespace

bool sees(const Problem& p, std::int64_t row, std::int64_t key) {
  const std::int64_t diagonal = row + p.seqlen_kv - p.seqlen_q;
  const Mask& mask = p.mask;
  switch (mask.kind) {
    case MaskKind::kFull: return true;
    case MaskKind::kCausalTopLeft: return key <= row;
    case MaskKind::kCausalBottomRight: return key <= diagonal;
    case MaskKind::kWindow:
      return (mask.window_left < 0 || diagonal - mask.window_left <= key) &&
             (mask.window_right < 0 || key <= diagonal + mask.window_right);
    case MaskKind::kDocument: return sees_in_document(p, row, key);
    case MaskKind::kBlockSparse: break;
  }
  const std::int64_t tiles_kv = (p.seqlen_kv + mask.block_kv - 1) / mask.block_kv;
  return p.block_mask[row / mask.block_q * tiles_kv + key / mask.block_kv] != 0;
}

Description description_of(const Declared& declared, Dtype asked) {
  Description description;
  description.dtypes = declared.dtypes;
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow) | bit_of(MaskKind::kDocument) |
                      bit_of(MaskKind::kBlockSparse);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                         kNanSafeUnseen | kNanSafeHidden | kEmptyRowsDefined | kNonPositiveScale | kBatchInvariant;
  description.features &= ~declared.not_claimed;
  if (asked != Dtype::kDefault) description.arithmetic = declared.arithmetic(asked);
  return description;
}

}  // namespace ringproof::correct

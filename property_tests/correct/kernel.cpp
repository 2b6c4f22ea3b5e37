#include "property_tests/correct/kernel.h"

namespace ringproof::correct {

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
    default: return false;
  }
}

Description description_of(const Declared& declared, Dtype asked) {
  Description description;
  description.dtypes = declared.dtypes;
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                         kNanSafeUnseen | kNanSafeHidden | kEmptyRowsDefined | kNonPositiveScale | kBatchInvariant;
  description.features &= ~declared.not_claimed;
  if (asked != Dtype::kDefault) description.arithmetic = declared.arithmetic(asked);
  return description;
}

}  // namespace ringproof::correct

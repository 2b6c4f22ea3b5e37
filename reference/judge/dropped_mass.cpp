// With L the lse of a row under its mask and L' under the mask full, both with the sink if there is one, the keys it
// sees hold m = exp(L - L') of the full row's probability. Let h be the mean of the hidden keys' values by their own
// weights. Then
//
//   O' = m O + (1 - m) h,     |O - O'| = (1 - m) |O - h| <= 2 (1 - m) max |V|,
//
// because O and h lie among values (with a sink both shrink towards 0). A row that sees nothing has O = 0 and m = 0.
//
// L and L' come from oracles that add in different orders, so m is wrong by their errors. Whether anything is dropped
// at all is decided by counting keys: a row that sees them all drops exactly nothing.

#include "reference/judge/dropped_mass.h"

#include <algorithm>
#include <cmath>

namespace ringproof {

std::vector<double> dropped_mass_of_rows(const Reference& reference, int threads) {
  if (reference.c.problem.mask.kind != MaskKind::kBlockSparse) return {};
  Problem full = with_data(reference.c.problem, reference.inputs);
  full.mask = Mask{MaskKind::kFull};
  const Inputs& in = reference.inputs;
  const ForwardAnswer& masked = reference.want;
  const ForwardAnswer whole =
      masked.rows.empty()
          ? attention_forward(full, in.q.view(), in.k.view(), in.v.view(), threads)
          : attention_forward_of_rows(full, in.q.view(), in.k.view(), in.v.view(), masked.rows, threads);
  std::vector<double> dropped;
  for (std::size_t row = 0; row < masked.row_count(); ++row) {
    const bool sees_all = masked.statistics.rows[row].visible_count == whole.statistics.rows[row].visible_count;
    const double share = -std::expm1(masked.lse.value[row] - whole.lse.value[row]);
    dropped.push_back(sees_all ? 0 : std::max(share, 0.0));
  }
  return dropped;
}

DroppedMass dropped_mass(const Reference& reference, int threads) {
  DroppedMass all;
  for (const double share : dropped_mass_of_rows(reference, threads)) {
    all.sum += share;
    all.max = std::max(all.max, share);
    ++all.rows;
  }
  return all;
}

DroppedMass merged(const DroppedMass& one, const DroppedMass& other) {
  return {one.sum + other.sum, std::max(one.max, other.max), one.rows + other.rows};
}

std::vector<Fact> facts_of(const DroppedMass& dropped) {
  if (dropped.rows == 0) return {};
  const std::string rows = std::to_string(dropped.rows) + " rows of block_sparse";
  return {{"dropped probability mass, mean", dropped.mean(), "1", "attention under the mask full, " + rows},
          {"dropped probability mass, largest", dropped.max, "1", "attention under the mask full, " + rows},
          {"distance of O from the mask full, at most", 2 * dropped.max, "max |V|", "attention under the mask full"}};
}

}  // namespace ringproof

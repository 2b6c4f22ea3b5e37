#pragma once

#include <cstdint>
#include <vector>

#include "reference/judge/reference.h"
#include "reference/judge/verify.h"

namespace ringproof {

/// What a block_sparse mask takes from attention: the share of a row's probability under the mask full that lies on
/// keys the mask hides. It says how far block-sparse attention is from the attention it stands for, and nothing about
/// a candidate: all are judged against the masked answer.
///
/// With V the row's values and 1 - m its dropped mass, |O - O'| <= 2 (1 - m) max |V| for O under the mask and O' under
/// full, column by column.
struct DroppedMass {
  double sum = 0, max = 0;  ///< over rows, each in [0, 1]; a row that sees nothing drops all of it
  std::int64_t rows = 0;
  double mean() const { return rows == 0 ? 0 : sum / static_cast<double>(rows); }
};

/// The dropped mass of every row of `reference` (of its sample where it holds one), in its order; empty for other masks
/// than block_sparse. Costs one reference under the mask full. Exactly 0 for a row that sees every key; never
/// negative; elsewhere wrong by what the oracle is wrong by in both lse (oracle_error).
std::vector<double> dropped_mass_of_rows(const Reference& reference, int threads);

/// The same, summed up.
DroppedMass dropped_mass(const Reference& reference, int threads);

/// Of two Cases together.
DroppedMass merged(const DroppedMass& one, const DroppedMass& other);

/// Its mean and its maximum as a report shows them, and how far O may lie from the answer under the mask full; none
/// where no row was looked at.
std::vector<Fact> facts_of(const DroppedMass& dropped);

}  // namespace ringproof

#pragma once

#include <string>

#include "reference/spec/candidate.h"
#include "reference/spec/case.h"

/// What holds for any correct kernel, without asking the oracle for the answer: pure functions of a candidate
/// and a Case. Each returns "" when it holds, else one sentence that says where it does not. Bounds are those
/// the candidate's own Arithmetic implies; equal means bit for bit. They require a judgeable Case that the
/// candidate's description covers. A call that fails, or a fault of structure, breaks every property.
namespace ringproof {

/// The judge accepts it.
std::string is_accepted(const Candidate& candidate, const Case& c);

/// Every column of O lies between the least and the largest value the row sees, within its bound.
std::string rows_are_convex_combinations(const Candidate& candidate, const Case& c);

/// With V constant over the keys, every row that sees a key returns that constant, within its bound.
std::string constant_values_are_returned(const Candidate& candidate, const Case& c);

/// Other K and V in every key that one row (drawn from the seed) does not see leave that row, and all rows that
/// see none of those keys, bit for bit what they were: for a causal mask, rows ignore the future.
std::string hidden_keys_change_nothing(const Candidate& candidate, const Case& c);

/// The keys in another order give the same answer within the bounds of both. Requires the mask full.
std::string key_order_changes_nothing(const Candidate& candidate, const Case& c);

/// Each kv head repeated for every query head of its group gives the same bits.
std::string grouped_heads_equal_repeated_heads(const Candidate& candidate, const Case& c);

/// The Case on one device gives the same answer within the bounds of both.
std::string topology_changes_nothing(const Candidate& ring, const Case& c);

/// The Case on the one rank of a contiguous, a striped and a zigzag ring gives the bits of `single` on one device.
std::string one_rank_equals_single(const Candidate& ring, const Candidate& single, const Case& c);

}  // namespace ringproof

#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "reference/judge/property_answer.h"

/// What holds for any correct kernel, without asking the oracle for the answer: pure functions of a candidate
/// and a Case. Bounds are those the candidate's own Arithmetic implies. They require a judgeable Case that the
/// candidate's description covers, and that applies() says they are made for. Each calls the candidate two or three
/// times on inputs of its own, in buffers that outlive it: who writes late is found by the next call on them, and by
/// written_late(). Memories in which K and V share elements are laid out apart. Where nothing was compared, for no
/// element is defined or bounded, the outcome is kUnsupported and the sentence says so.
namespace ringproof {

/// Every column of O lies between the least and the largest value the row sees (and 0, with a sink), within its
/// bound.
PropertyResult rows_are_convex_combinations(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// With V constant over the keys, every row that sees a key returns that constant, within its bound. No sink.
PropertyResult constant_values_are_returned(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// O of V is the sum of O of V on one half of the keys and O of V on the other, zero elsewhere, within the bounds.
PropertyResult values_enter_linearly(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// One number added to all scores of a row leaves O as it is and moves lse by that number, within the bounds. No
/// softcap, no sink.
PropertyResult common_offset_changes_nothing(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// Other K and V in every key that one row (drawn from the seed) does not see leave that row, and all rows that
/// see none of those keys, what they were, bit for bit where batch invariance is claimed: for a causal mask, rows
/// ignore the future.
PropertyResult hidden_keys_change_nothing(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// Other q, k and v in all batches and kv heads but one leave that one what it was, bit for bit where batch
/// invariance is claimed.
PropertyResult other_heads_change_nothing(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// The keys in another order give the same answer within the bounds of both. Mask full.
PropertyResult key_order_changes_nothing(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// Each kv head repeated for every query head of its group gives the same answer within the bounds of both.
PropertyResult grouped_heads_equal_repeated_heads(const Candidate& candidate, const Case& c,
                                                  const PropertyMemory& memory);

/// window(seqlen_kv - 1, 0) is causal_bottom_right, within the bounds of both. Mask causal_bottom_right.
PropertyResult whole_window_equals_causal(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// Tokens behind the last document change no row, within the bounds of both. Mask document.
PropertyResult padding_changes_nothing(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// The keys cut in two, and the two answers merged by their lse in double, give the whole, within the bounds. Mask
/// full, one rank, no sink.
PropertyResult merged_halves_equal_the_whole(const Candidate& candidate, const Case& c, const PropertyMemory& memory);

/// The Case on one device gives the same answer within the bounds of both. Several ranks.
PropertyResult topology_changes_nothing(const Candidate& ring, const Case& c, const PropertyMemory& memory);

/// The Case on the one rank of a contiguous, a striped and a zigzag ring, as far as declared, gives what `single` gives
/// on one device, within the bounds of both: a ring may round the partial it passes on, or split the keys otherwise;
/// `in_bits` for one that does neither. One rank, a candidate that starts ranks.
PropertyResult one_rank_equals_single(const Candidate& ring, const Candidate& single, const Case& c,
                                      const PropertyMemory& memory, bool in_bits = false);
PropertyResult one_rank_equals_one_device(const Candidate& ring, const Case& c, const PropertyMemory& memory);

/// A property and the Cases it is made for.
struct Property {
  const char* name;  ///< "rows are convex combinations"
  bool (*applies)(const Candidate& candidate, const Description& description, const Case& c);
  PropertyResult (*holds)(const Candidate& candidate, const Case& c, const PropertyMemory& memory);
};

/// All of the above, in that order.
const std::vector<Property>& properties();

/// Asks properties along a run: of each candidate, storage dtype and mask, each property on the first two Cases it is
/// made for, none of more than 2^22 products of Q and K (or P and V), so that they add little to the run.
class PropertyExaminer {
 public:
  /// Writes what held, what did not and what had nothing to compare into the evidence of that candidate on that Case;
  /// the latter is asked of another Case again. `memory` holds the buffers of the candidate's other calls. Does nothing
  /// where the Case was not judged, or where its inputs are special: what stands there has answers that no
  /// rearrangement keeps. An exception leaves the Case open.
  void examine(const Candidate& candidate, const Case& c, const PropertyMemory& memory, Evidence& evidence);

 private:
  void ask(const Candidate& candidate, const Case& c, const PropertyMemory& memory, Evidence& evidence);

  std::map<std::tuple<std::string, Dtype, MaskKind, std::string>, int> asked_;
};

}  // namespace ringproof

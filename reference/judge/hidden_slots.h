#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/problem.h"
#include "reference/spec/tensor.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// What stands in K and V where a row may not look (semantics.md: NaN a row does not see).
///
/// Level 0: finite poison in keys that no row sees. Level 1: NaN there. Level 2: NaN besides in every key that a row,
/// drawn from the seed for each batch and kv head, does not see: hidden slots inside tiles that are worked on. Rows
/// that see one of these keys have no answer any more.
class HiddenSlots {
 public:
  /// `shares_heads`: the kv heads lie in the same memory, so that one row is drawn for all of a batch.
  HiddenSlots(const Problem& problem, std::uint64_t seed, int level, bool shares_heads);

  /// Writes poison over the hidden slots of the local `tokens` of k or v. Finite poison is one of `poison_dtype`'s
  /// numbers and differs from call to call.
  void poison(const TensorView& view, const std::vector<std::int64_t>& tokens, Dtype poison_dtype,
              std::uint64_t call) const;

  /// For every row of [batch, heads_q, seqlen_q]: whether it sees a NaN of level 2. Empty below that level.
  std::vector<bool> spoiled_rows() const;

 private:
  std::int64_t row_drawn(std::int64_t batch, std::int64_t head_kv) const;

  Problem problem_;
  Visibility visibility_;
  std::uint64_t seed_;
  int level_;
  bool shares_heads_;
};

/// The finite poison of slots that no row sees, different on every call: large, but its square times 2^12 head dims is
/// finite in the accumulators a storage dtype has by default.
double finite_poison(Dtype dtype, std::uint64_t call, std::int64_t index);

}  // namespace ringproof

#pragma once

#include <cstdint>
#include <vector>

#include "reference/spec/inputs.h"

namespace ringproof {

/// The inputs with 0 in place of every NaN and infinity: what the oracle gets, so that all it says of other rows and
/// columns stands.
Inputs without_special(const Inputs& inputs);

/// What the contract says of rows whose inputs hold NaN or infinity (semantics.md), decided from the inputs and from
/// what each row sees. Rows are linear in [batch, heads_q, seqlen_q]. Default: no row is special.
class SpecialRows {
 public:
  SpecialRows() = default;
  SpecialRows(const Problem& problem, const Memory& memory, const Inputs& inputs);

  /// An infinity stands in its q or in a key or value it sees, or a NaN in its q though it sees no key (masks that add
  /// -inf and masks that select differ there): nothing is said of this row.
  bool is_unspecified(std::int64_t row) const { return holds(row, kUnspecified); }

  /// A NaN stands in its q or in a key it sees: O is NaN, lse NaN or +inf.
  bool is_nan(std::int64_t row) const { return holds(row, kSeesNan) && !is_unspecified(row); }

  /// The same of one column of O, which a NaN in a value does to it too. Requires a column below head_dim_v.
  bool is_nan(std::int64_t row, std::int64_t column) const;

  /// A NaN or an infinity stands in a key or value that this row does not see and another row does: its answer is asked
  /// only of candidates that claim kNanSafeHidden.
  bool lies_beside(std::int64_t row) const { return holds(row, kLiesBeside); }

  /// Whether anything above holds: what stands in this row is no draw.
  bool is_special(std::int64_t row) const;

 private:
  enum Flag : std::uint8_t { kUnspecified = 1, kSeesNan = 2, kLiesBeside = 4, kSeesNanValue = 8 };
  bool holds(std::int64_t row, Flag flag) const {
    return !flags_.empty() && (flags_[static_cast<std::size_t>(row)] & flag) != 0;
  }

  std::int64_t columns_ = 0;
  std::vector<std::uint8_t> flags_;  // of rows; empty: none is special
  std::vector<bool> nan_in_column_;  // [rows][columns], of values; empty where flags_ are
};

}  // namespace ringproof

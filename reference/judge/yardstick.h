#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/arithmetic.h"

namespace ringproof {

/// What a declaration is measured against, for rows of at most `keys` keys: `declared` (resolved) with every field
/// that is looser than sound kernels need put back. Operands and P no narrower than their defaults (TF32 for fp32),
/// default accumulators (truncating ones as matrix units truncate), scores and partials no narrower than the storage,
/// P not scaled down, exp within 2^-13, tanh within 2^-10, one merge per 64 keys and 32 more. Resolved.
Arithmetic yardstick(const Arithmetic& declared, Dtype storage, std::int64_t keys);

/// `declared` with one field put back to the yardstick's.
struct MendedField {
  std::string name;  ///< as looser_than_default says it: "exp 0.05"
  Arithmetic arithmetic;
};

/// One for each field in which `declared` goes beyond the yardstick; empty where it loses no power by definition.
std::vector<MendedField> fields_beyond_yardstick(const Arithmetic& declared, Dtype storage, std::int64_t keys);

}  // namespace ringproof

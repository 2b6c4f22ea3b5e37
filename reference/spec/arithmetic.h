#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/dtype.h"

namespace ringproof {

enum class KeyOrder : std::int32_t { kMonotone = 0, kAnyOrder = 1 };

/// What a candidate declares about its own precision: the C++ twin of rp_arithmetic, field for field. Bounds
/// are functions of it. 0 (or kDefault) means "the default" or "not known"; resolve() fills such fields in.
struct Arithmetic {
  Dtype operand_dtype = Dtype::kDefault;           ///< what q, k, v are rounded to before the products
  Dtype score_dtype = Dtype::kDefault;             ///< what S is rounded to
  Dtype p_dtype = Dtype::kDefault;                 ///< what P is cast to before P V
  Dtype accumulator_dtype = Dtype::kDefault;       ///< of both products, of l and of the rescaled O
  Dtype partial_dtype = Dtype::kDefault;           ///< partial O between merges
  Dtype gradient_partial_dtype = Dtype::kDefault;  ///< partial gradients
  bool p_is_normalised = false;                    ///< P is divided by the row sum before the cast
  bool l_sums_cast_p = false;                      ///< the row sum adds P after its cast
  bool merge_is_lerp = false;                      ///< merges write out -= sigmoid(lse_b - lse) (out - out_b)
  KeyOrder key_order = KeyOrder::kMonotone;        ///< ascending or descending, or any
  std::int32_t mma_block = 0;  ///< products a truncating accumulator aligns at once; 0 rounds to nearest
  std::int32_t accumulator_fraction_bits = 0;  ///< its fraction bits
  std::int64_t accumulation_depth = 0;         ///< longest chain of additions of one output element; 0 not known
  std::int64_t tile_kv = 0;                    ///< keys per online-softmax step; 0 not known, judged as one
  std::int64_t merges = 0;                     ///< merges of partial results a row goes through, beyond the topology's
  std::int64_t gradient_partials = 0;          ///< partial gradients summed
  double exp_error_relative = 0;               ///< relative error of one exponential
  double tanh_error_relative = 0;              ///< relative error of one tanh
  double p_scale = 0;                          ///< factor P carries into its cast (fp8)

  bool operator==(const Arithmetic&) const = default;
};

/// `declared` with every 0 replaced by its meaning for `storage`: fp64 -> everything fp64, exp within 4 x
/// 2^-53; fp32 -> everything fp32; fp16, bf16 -> P in that dtype, the rest fp32; fp8 -> P in e4m3, the rest
/// fp32; with fp32 accumulators exp and tanh within 2.5 ulp = 5 x 2^-24. depth, tile and mma fields keep 0 as
/// "not known".
Arithmetic resolve(const Arithmetic& declared, Dtype storage);

/// The fields in which `declared` is looser than the default of `storage`, in words ("l sums the cast P",
/// "exp 8.8e-05"); empty: the reference contract.
std::vector<std::string> looser_than_default(const Arithmetic& declared, Dtype storage);

/// Throws InputError naming field and mend where a declaration makes no sense or is not judged yet.
void validate(const Arithmetic& declared, Dtype storage);

}  // namespace ringproof

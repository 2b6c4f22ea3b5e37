// The defaults of the plug-in ABI. fp32 exponentials on GPUs: ex2.approx.f32 and expf are documented within 2
// ulp; their argument's scaling is counted in the bounds themselves, so 2.5 ulp = 5 u covers both. Double: 4
// u = 2 ulp.

#include "reference/spec/arithmetic.h"

#include <cmath>
#include <tuple>

#include "reference/spec/error.h"
#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr double kUnitFloat = 0x1p-24, kUnitDouble = 0x1p-53;

Dtype default_p(Dtype storage) {
  switch (storage) {
    case Dtype::kF8E4m3:
    case Dtype::kF8E5m2: return Dtype::kF8E4m3;
    default: return storage;
  }
}

void fill(Dtype& field, Dtype value) {
  if (field == Dtype::kDefault) field = value;
}

}  // namespace

Arithmetic resolve(const Arithmetic& declared, Dtype storage) {
  Arithmetic a = declared;
  const Dtype wide = storage == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
  fill(a.operand_dtype, storage);
  fill(a.accumulator_dtype, wide);
  fill(a.score_dtype, a.accumulator_dtype);
  fill(a.p_dtype, default_p(storage));
  fill(a.partial_dtype, a.accumulator_dtype);
  fill(a.gradient_partial_dtype, a.accumulator_dtype);
  const double exp_error = a.accumulator_dtype == Dtype::kF64 ? 4 * kUnitDouble : 5 * kUnitFloat;
  if (a.exp_error_relative == 0) a.exp_error_relative = exp_error;
  if (a.tanh_error_relative == 0) a.tanh_error_relative = exp_error;
  if (a.p_scale == 0) a.p_scale = 1;
  return a;
}

std::vector<std::string> looser_than_default(const Arithmetic& declared, Dtype storage) {
  const Arithmetic got = resolve(declared, storage), wide = resolve({}, storage);
  std::vector<std::string> looser;
  for (const auto& [one, other, name] :
       {std::tuple{got.operand_dtype, wide.operand_dtype, "operands "},
        std::tuple{got.score_dtype, wide.score_dtype, "scores "}, std::tuple{got.p_dtype, wide.p_dtype, "P "},
        std::tuple{got.accumulator_dtype, wide.accumulator_dtype, "accumulators "},
        std::tuple{got.partial_dtype, wide.partial_dtype, "partials "}}) {
    if (is_narrower(one, other)) looser.push_back(name + std::string(to_string(one)));
  }
  if (got.p_is_normalised) looser.push_back("P normalised before its cast");
  if (got.l_sums_cast_p) looser.push_back("l sums the cast P");
  if (got.merge_is_lerp) looser.push_back("lerp merges");
  if (got.key_order == KeyOrder::kAnyOrder) looser.push_back("keys in any order");
  if (got.mma_block > 0)
    looser.push_back("truncating accumulators of " + std::to_string(got.accumulator_fraction_bits) + " bits");
  if (got.p_scale < wide.p_scale) looser.push_back("P scaled by " + shortest(got.p_scale));
  if (got.merges > 0) looser.push_back(std::to_string(got.merges) + " merges");
  if (got.exp_error_relative > wide.exp_error_relative) looser.push_back("exp " + shortest(got.exp_error_relative));
  if (got.tanh_error_relative > wide.tanh_error_relative) looser.push_back("tanh " + shortest(got.tanh_error_relative));
  return looser;
}

void validate(const Arithmetic& declared, Dtype storage) {
  const auto require = [](bool condition, const char* sentence) {
    if (!condition) throw InputError(std::string("the declared Arithmetic is refused: ") + sentence);
  };
  const Arithmetic a = resolve(declared, storage);
  require(a.exp_error_relative >= 0 && a.exp_error_relative < 1, "exp_error_relative must lie in [0, 1)");
  require(a.tanh_error_relative >= 0 && a.tanh_error_relative < 1, "tanh_error_relative must lie in [0, 1)");
  require(std::isfinite(a.p_scale) && a.p_scale > 0, "p_scale must be positive");
  require(a.accumulation_depth >= 0 && a.tile_kv >= 0 && a.merges >= 0 && a.gradient_partials >= 0,
          "depth, tile, merges and partials are counts");
  require(
      a.mma_block >= 0 && a.accumulator_fraction_bits >= 0 && (a.mma_block > 0) == (a.accumulator_fraction_bits > 0),
      "mma_block and accumulator_fraction_bits go together");
  require(a.accumulator_dtype == Dtype::kF64 || a.accumulator_dtype == Dtype::kF32 ||
              a.accumulator_dtype == Dtype::kF16 || a.accumulator_dtype == Dtype::kBf16,
          "accumulator_dtype must be fp64, fp32, fp16 or bf16");
}

}  // namespace ringproof

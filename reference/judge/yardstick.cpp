// The yardstick of candidates.md. Two things that only hardware decides, and no kernel can declare looser than the
// hardware is, belong to it: matrix units read fp32, P included, as TF32, and truncate their sums to the bits of
// numerics.md's table, 23 at least for 16-bit and 13 for 8-bit operands, in blocks of 32 products at most: a block's
// error grows with its length, so that a long one hides as much as few bits do. Their own power is measured and stated.
//
// Merges: one may cost 64 u = 2^-18 (R1), so that 32 of them cost as much as the exponential may, at any length; of
// narrow partials, which every merge rounds, none is free. Exponentials: where any key may be a rescale event, the
// errors of all of them together are held to what one may have.

#include "reference/judge/yardstick.h"

#include <algorithm>

#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr double kExpErrorMax = 0x1p-13, kTanhErrorMax = 0x1p-10;
constexpr std::int64_t kKeysPerMerge = 64, kMergesFree = 32;
constexpr std::int32_t kBlockMax = 32;  // the longest of numerics.md's table

int fraction_bits_least(Dtype storage) { return size_bytes(storage) == 1 ? 13 : 23; }

// What a matrix unit reads where it is handed `format`.
Dtype read_as(Dtype format) { return format == Dtype::kF32 ? Dtype::kTf32 : format; }

}  // namespace

std::vector<MendedField> fields_beyond_yardstick(const Arithmetic& declared, Dtype storage, std::int64_t keys) {
  const Arithmetic got = resolve(declared, storage), wide = resolve({}, storage);
  std::vector<MendedField> beyond;
  const auto mend = [&](const std::string& name, const auto& edit) {
    beyond.push_back({name, got});
    edit(beyond.back().arithmetic);
  };
  const auto format = [&](Dtype Arithmetic::*field, Dtype least, const char* name) {
    if (is_narrower(got.*field, least)) {
      mend(name + std::string(to_string(got.*field)), [&](Arithmetic& a) { a.*field = least; });
    }
  };
  format(&Arithmetic::operand_dtype, read_as(storage), "operands ");
  format(&Arithmetic::score_dtype, storage, "scores ");
  format(&Arithmetic::p_dtype, read_as(wide.p_dtype), "P ");
  format(&Arithmetic::accumulator_dtype, wide.accumulator_dtype, "accumulators ");
  format(&Arithmetic::partial_dtype, storage, "partials ");
  // Where every key may be a rescale event (any order, no tile declared), the errors of all of them add up.
  const bool every_key = got.key_order == KeyOrder::kAnyOrder && got.tile_kv == 0;
  const auto events = static_cast<double>(every_key ? std::max<std::int64_t>(keys, 1) : 1);
  const double exp_most = std::max(kExpErrorMax / events, wide.exp_error_relative);
  if (exp_most < got.exp_error_relative) {
    mend("exp " + shortest(got.exp_error_relative), [&](Arithmetic& a) { a.exp_error_relative = exp_most; });
  }
  if (kTanhErrorMax < got.tanh_error_relative) {
    mend("tanh " + shortest(got.tanh_error_relative), [](Arithmetic& a) { a.tanh_error_relative = kTanhErrorMax; });
  }
  // A merge rounds a narrow partial: none of those is free.
  const bool narrow = is_narrower(got.partial_dtype, got.accumulator_dtype);
  const std::int64_t merges_most = keys / kKeysPerMerge + (narrow ? 0 : kMergesFree);
  if (merges_most < got.merges) {
    mend(std::to_string(got.merges) + " merges", [&](Arithmetic& a) { a.merges = merges_most; });
  }
  if (got.p_scale < wide.p_scale) {
    mend("P scaled by " + shortest(got.p_scale), [&](Arithmetic& a) { a.p_scale = wide.p_scale; });
  }
  if (got.mma_block > 0 && got.accumulator_fraction_bits < fraction_bits_least(storage)) {
    mend("truncating accumulators of " + std::to_string(got.accumulator_fraction_bits) + " bits",
         [&](Arithmetic& a) { a.accumulator_fraction_bits = fraction_bits_least(storage); });
  }
  if (kBlockMax < got.mma_block) {
    mend("truncating blocks of " + std::to_string(got.mma_block), [](Arithmetic& a) { a.mma_block = kBlockMax; });
  }
  return beyond;
}

Arithmetic yardstick(const Arithmetic& declared, Dtype storage, std::int64_t keys) {
  Arithmetic within = resolve(declared, storage);
  // Mending one field never puts another beyond.
  for (auto beyond = fields_beyond_yardstick(within, storage, keys); !beyond.empty();
       beyond = fields_beyond_yardstick(within, storage, keys)) {
    within = beyond.front().arithmetic;
  }
  return within;
}

}  // namespace ringproof

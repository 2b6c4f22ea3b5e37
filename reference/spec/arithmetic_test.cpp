#include "reference/spec/arithmetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kUnitFloat = 0x1p-24, kUnitDouble = 0x1p-53;

TEST(Arithmetic, DefaultsAreThoseOfTheStorageDtype) {
  struct Row {
    Dtype storage, p, wide;
    double exp_error;
  };
  const Row rows[]{{Dtype::kF64, Dtype::kF64, Dtype::kF64, 4 * kUnitDouble},
                   {Dtype::kF32, Dtype::kF32, Dtype::kF32, 5 * kUnitFloat},
                   {Dtype::kF16, Dtype::kF16, Dtype::kF32, 5 * kUnitFloat},
                   {Dtype::kBf16, Dtype::kBf16, Dtype::kF32, 5 * kUnitFloat},
                   {Dtype::kF8E4m3, Dtype::kF8E4m3, Dtype::kF32, 5 * kUnitFloat},
                   {Dtype::kF8E5m2, Dtype::kF8E4m3, Dtype::kF32, 5 * kUnitFloat}};
  for (const Row& row : rows) {
    const Arithmetic a = resolve({}, row.storage);
    EXPECT_EQ(a.operand_dtype, row.storage);
    EXPECT_EQ(a.p_dtype, row.p);
    EXPECT_EQ(a.score_dtype, row.wide);
    EXPECT_EQ(a.accumulator_dtype, row.wide);
    EXPECT_EQ(a.partial_dtype, row.wide);
    EXPECT_EQ(a.gradient_partial_dtype, row.wide);
    EXPECT_EQ(a.exp_error_relative, row.exp_error);
    EXPECT_EQ(a.tanh_error_relative, row.exp_error);
    EXPECT_EQ(a.p_scale, 1);
    EXPECT_EQ(a.tile_kv, 0);
    EXPECT_EQ(a.accumulation_depth, 0);
    EXPECT_EQ(resolve(a, row.storage), a) << "resolving twice changes nothing";
    EXPECT_TRUE(looser_than_default({}, row.storage).empty());
    EXPECT_NO_THROW(validate({}, row.storage));
  }
}

TEST(Arithmetic, DeclaredFieldsStayAndDecideTheDefaultsThatFollowThem) {
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kF16;
  declared.exp_error_relative = 0.001;
  const Arithmetic a = resolve(declared, Dtype::kBf16);
  EXPECT_EQ(a.accumulator_dtype, Dtype::kF16);
  EXPECT_EQ(a.score_dtype, Dtype::kF16);
  EXPECT_EQ(a.partial_dtype, Dtype::kF16);
  EXPECT_EQ(a.p_dtype, Dtype::kBf16);
  EXPECT_EQ(a.exp_error_relative, 0.001);
  EXPECT_EQ(a.tanh_error_relative, 5 * kUnitFloat);
}

struct Looser {
  std::function<void(Arithmetic&)> declare;
  std::string words;
};

TEST(Arithmetic, EveryLooserFieldIsSaidInWords) {
  const Looser fields[]{
      {[](Arithmetic& a) { a.operand_dtype = Dtype::kTf32; }, "operands tf32"},
      {[](Arithmetic& a) { a.score_dtype = Dtype::kF16; }, "scores fp16"},
      {[](Arithmetic& a) { a.p_dtype = Dtype::kBf16; }, "P bf16"},
      {[](Arithmetic& a) { a.accumulator_dtype = Dtype::kBf16; }, "accumulators bf16"},
      {[](Arithmetic& a) { a.partial_dtype = Dtype::kF16; }, "partials fp16"},
      {[](Arithmetic& a) { a.p_is_normalised = true; }, "P normalised before its cast"},
      {[](Arithmetic& a) { a.l_sums_cast_p = true; }, "l sums the cast P"},
      {[](Arithmetic& a) { a.merge_is_lerp = true; }, "lerp merges"},
      {[](Arithmetic& a) { a.key_order = KeyOrder::kAnyOrder; }, "keys in any order"},
      {[](Arithmetic& a) { a.mma_block = 8, a.accumulator_fraction_bits = 24; }, "truncating accumulators of 24 bits"},
      {[](Arithmetic& a) { a.merges = 3; }, "3 merges"},
      {[](Arithmetic& a) { a.exp_error_relative = 8.8e-5; }, "exp 8.8e-05"},
      {[](Arithmetic& a) { a.tanh_error_relative = 0.001; }, "tanh 0.001"}};
  for (const Looser& field : fields) {
    Arithmetic declared;
    field.declare(declared);
    const std::vector<std::string> said = looser_than_default(declared, Dtype::kF32);
    EXPECT_NE(std::find(said.begin(), said.end(), field.words), said.end()) << field.words;
    EXPECT_NO_THROW(validate(declared, Dtype::kF32)) << field.words;
  }
}

TEST(Arithmetic, NarrowAccumulatorsSayWhatFollowsFromThem) {
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kBf16;
  EXPECT_EQ(looser_than_default(declared, Dtype::kBf16),
            (std::vector<std::string>{"scores bf16", "accumulators bf16", "partials bf16"}));
}

TEST(Arithmetic, StricterFieldsAreNotSaid) {
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kF64;
  declared.p_dtype = Dtype::kF32;
  declared.tile_kv = 64;
  declared.accumulation_depth = 100;
  EXPECT_TRUE(looser_than_default(declared, Dtype::kBf16).empty());
}

TEST(Arithmetic, WhatMakesNoSenseIsRefused) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Looser fields[]{{[](Arithmetic& a) { a.exp_error_relative = 1; }, "exp_error_relative"},
                        {[](Arithmetic& a) { a.exp_error_relative = -1e-7; }, "exp_error_relative"},
                        {[](Arithmetic& a) { a.exp_error_relative = std::nan(""); }, "exp_error_relative"},
                        {[](Arithmetic& a) { a.tanh_error_relative = 2; }, "tanh_error_relative"},
                        {[](Arithmetic& a) { a.p_scale = -1; }, "p_scale"},
                        {[=](Arithmetic& a) { a.p_scale = infinity; }, "p_scale"},
                        {[](Arithmetic& a) { a.accumulation_depth = -1; }, "are counts"},
                        {[](Arithmetic& a) { a.tile_kv = -1; }, "are counts"},
                        {[](Arithmetic& a) { a.merges = -1; }, "are counts"},
                        {[](Arithmetic& a) { a.gradient_partials = -1; }, "are counts"},
                        {[](Arithmetic& a) { a.mma_block = 8; }, "go together"},
                        {[](Arithmetic& a) { a.accumulator_fraction_bits = 8; }, "go together"},
                        {[](Arithmetic& a) { a.accumulator_dtype = Dtype::kF8E4m3; }, "accumulator_dtype must be"},
                        {[](Arithmetic& a) { a.accumulator_dtype = Dtype::kTf32; }, "accumulator_dtype must be"}};
  for (const Looser& field : fields) {
    Arithmetic declared;
    field.declare(declared);
    try {
      validate(declared, Dtype::kBf16);
      ADD_FAILURE() << "accepted: " << field.words;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(field.words), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace ringproof

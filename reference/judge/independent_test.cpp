#include "reference/judge/independent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "reference/judge/reference.h"

namespace ringproof {
namespace {

bool is_independent_on(const std::string& line) {
  const Case c = parse_case(line);
  return is_independent(c, resolve({}, c.problem.dtype));
}

std::string line_of(const std::string& dtype, const std::string& shape, const std::string& scale,
                    const std::string& recipe, const std::string& memory = "bhsd") {
  return "fwd/" + dtype + "/" + shape + "/full/" + scale + "/" + recipe + ":1/" + memory + "/single";
}

const std::string kShape = "b1.hq2.hkv2.sq64.skv64.dqk64.dv64";

TEST(Independent, IsTheRecipeGaussAlone) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    EXPECT_TRUE(is_independent_on(line_of(dtype, kShape, "scale0.125", "gauss")));
    for (const char* recipe : {"uniform_probe", "walsh_probe", "head_coded", "exact", "peaked", "sink", "near_ties",
                               "duplicated", "outlier", "large_offset(12)"}) {
      EXPECT_FALSE(is_independent_on(line_of(dtype, kShape, "scale0.125", recipe))) << recipe;
    }
  }
}

TEST(Independent, IsNotWhereASoftcapSaturates) {
  // The scores' standard deviation is 0.125 sqrt(64) = 1.
  EXPECT_TRUE(is_independent_on(line_of("bf16", kShape, "scale0.125,softcap8", "gauss")));
  EXPECT_FALSE(is_independent_on(line_of("bf16", kShape, "scale0.125,softcap7.75", "gauss")));
  EXPECT_FALSE(is_independent_on(line_of("bf16", kShape, "scale-0.125,softcap7.75", "gauss")));
}

TEST(Independent, IsNotWhereScoresSpreadLessThanTwoUlpsOfP) {
  // bf16: 2 ulps at 1 are 2^-6, and sqrt(64) is 8.
  EXPECT_TRUE(is_independent_on(line_of("bf16", kShape, "scale0.001953125", "gauss")));
  EXPECT_FALSE(is_independent_on(line_of("bf16", kShape, "scale0.00195", "gauss")));
  EXPECT_FALSE(is_independent_on(line_of("fp64", kShape, "scale0", "gauss")));
  const Case c = parse_case(line_of("bf16", kShape, "scale0.00195", "gauss"));
  Arithmetic exact_p = resolve({}, Dtype::kBf16);
  exact_p.p_dtype = Dtype::kF32;
  EXPECT_TRUE(is_independent(c, exact_p));
}

// One-hot rows round back to the one value they hold. With accumulators no finer than the storage that drowns.
TEST(Independent, IsNotWhereRowsAreOneHot) {
  for (const char* dtype : {"fp16", "bf16"}) {
    EXPECT_TRUE(is_independent_on(line_of(dtype, kShape, "scale0.25", "gauss"))) << dtype;
    EXPECT_FALSE(is_independent_on(line_of(dtype, kShape, "scale1", "gauss"))) << dtype;
  }
  EXPECT_TRUE(is_independent_on(line_of("fp32", kShape, "scale1", "gauss")));
  const Case c = parse_case(line_of("fp32", kShape, "scale1", "gauss"));
  EXPECT_FALSE(is_independent(c, resolve({}, Dtype::kF64)));
  const Case gentle = parse_case(line_of("fp32", kShape, "scale0.25", "gauss"));
  EXPECT_TRUE(is_independent(gentle, resolve({}, Dtype::kF64)));
}

TEST(Independent, IsNotWhereTensorsShareTheirNumbers) {
  EXPECT_TRUE(is_independent_on(line_of("bf16", kShape, "scale0.125", "gauss", "bhsd+broadcast_kv")));
  EXPECT_FALSE(is_independent_on(line_of("bf16", kShape, "scale0.125", "gauss", "bhsd+alias")));
  EXPECT_FALSE(is_independent_on(line_of("bf16", kShape, "scale0.125", "gauss", "bhsd+v_in_k")));
}

// Storage of 8 bits tells 11 keys of one column apart: 11^2 <= 2^7 < 12^2.
TEST(Independent, IsNotWhereKeysMayCoincide) {
  const auto line = [](int keys, int columns) {
    return line_of("bf16", "b1.hq1.hkv1.sq4.skv" + std::to_string(keys) + ".dqk" + std::to_string(columns) + ".dv4",
                   "scale1", "gauss");
  };
  EXPECT_TRUE(is_independent_on(line(11, 1)));
  EXPECT_FALSE(is_independent_on(line(12, 1)));
  EXPECT_TRUE(is_independent_on(line(0, 1)));
  for (const int columns : {1, 4}) {
    const Case c = parse_case(line(4096, columns));
    const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
    std::set<std::vector<double>> distinct;
    for (std::int64_t key = 0; key < 4096; ++key) {
      std::vector<double> one;
      for (std::int64_t d = 0; d < columns; ++d) one.push_back(inputs.k.view().load(0, 0, key, d));
      distinct.insert(one);
    }
    EXPECT_EQ(distinct.size() == 4096, is_independent_on(line(4096, columns))) << columns;
  }
}

}  // namespace
}  // namespace ringproof

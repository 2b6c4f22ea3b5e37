#include "reference/spec/special_inputs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "reference/spec/case.h"

namespace ringproof {
namespace {

Inputs made(const std::string& dtype, int seed, const std::string& shape = "b2.hq10.hkv5.sq40.skv50.dqk16.dv12",
            const std::string& memory = "bhsd") {
  const Case c = parse_case("fwd/" + dtype + "/" + shape + "/full/scale0.25/special:" + std::to_string(seed) + "/" +
                            memory + "/single");
  return make_inputs(c.problem, c.inputs, c.memory);
}

struct Counts {
  std::int64_t nan = 0, infinite = 0, negative_infinite = 0, subnormal = 0, zero = 0, negative_zero = 0, large = 0;
};

Counts counted(const Tensor& tensor) {
  Counts counts;
  const TensorView view = tensor.view();
  const double least = std::ldexp(1.0, format_facts(view.dtype).exponent_min);
  const Shape& shape = view.shape;
  for (std::int64_t at = 0; at < element_count(shape); ++at) {
    const double x = view.load(at / (shape[1] * shape[2] * shape[3]), at / (shape[2] * shape[3]) % shape[1],
                               at / shape[3] % shape[2], at % shape[3]);
    counts.nan += std::isnan(x);
    counts.infinite += std::isinf(x);
    counts.negative_infinite += std::isinf(x) && x < 0;
    counts.subnormal += x != 0 && std::fabs(x) < least;
    counts.zero += x == 0;
    counts.negative_zero += x == 0 && std::signbit(x);
    counts.large += std::isfinite(x) && std::fabs(x) >= 400;
  }
  return counts;
}

TEST(TheRecipeSpecial, HoldsEveryKindOfNumberInEveryStorage) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"}) {
    const Inputs inputs = made(dtype, 3);
    const bool has_infinity = std::string(dtype) != "fp8_e4m3";
    const Counts q = counted(inputs.q), k = counted(inputs.k), v = counted(inputs.v);
    for (const Counts& counts : {q, k, v}) {
      EXPECT_GT(counts.subnormal, 0) << dtype;
      EXPECT_GT(counts.negative_zero, 0) << dtype;
      EXPECT_GT(counts.zero, counts.negative_zero) << dtype;
      EXPECT_EQ(counts.infinite > 0, has_infinity) << dtype;
    }
    EXPECT_GT(q.nan, 20) << dtype;
    EXPECT_LT(q.nan, 80) << dtype;
    EXPECT_EQ(k.nan, 2) << dtype;
    EXPECT_EQ(v.nan, 2) << dtype;
    EXPECT_EQ(k.infinite, has_infinity ? 2 : 0) << dtype;
    EXPECT_EQ(v.infinite, has_infinity ? 2 : 0) << dtype;
    EXPECT_EQ(q.negative_infinite > 0 && q.negative_infinite < q.infinite, has_infinity) << dtype;
    EXPECT_EQ(q.large + k.large, 0) << dtype;
    EXPECT_GT(v.large, 0) << dtype;
  }
}

TEST(TheRecipeSpecial, HasAColumnOfSubnormalsAndOneOfZeros) {
  const Inputs inputs = made("bf16", 5, "b1.hq1.hkv1.sq9.skv40.dqk16.dv4");  // head 0 holds no NaN
  const TensorView v = inputs.v.view();
  for (std::int64_t key = 0; key < 40; ++key) {
    EXPECT_TRUE(v.load(0, 0, key, 0) != 0 && std::fabs(v.load(0, 0, key, 0)) < 0x1p-126) << key;
    EXPECT_EQ(v.load(0, 0, key, 1), 0) << key;
  }
}

TEST(TheRecipeSpecial, PutsWhatTheSeedSaysIntoAHead) {
  const std::map<int, std::string> what{{0, ""}, {1, "NaN in k"}, {2, "NaN in v"}, {3, "inf in k"}, {4, "inf in v"}};
  for (const auto& [seed, said] : what) {
    const Inputs inputs = made("fp32", 5 + seed, "b1.hq1.hkv1.sq0.skv7.dqk3.dv2");
    std::string found;
    for (const auto& [name, tensor] : {std::pair{"k", &inputs.k}, std::pair{"v", &inputs.v}}) {
      const Counts counts = counted(*tensor);
      if (counts.nan == 1) found += std::string("NaN in ") + name;
      if (counts.infinite == 1) found += std::string("inf in ") + name;
    }
    EXPECT_EQ(found, said);
  }
}

TEST(TheRecipeSpecial, IsOneForAllHeadsThatShareTheirMemory) {
  const Inputs inputs = made("fp32", 4, "b2.hq6.hkv3.sq8.skv9.dqk4.dv4", "bhsd+broadcast_kv");
  for (const Tensor* tensor : {&inputs.k, &inputs.v}) {
    const TensorView view = tensor->view();
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t at = 0; at < 36; ++at) {
        for (std::int64_t h = 1; h < 3; ++h) {
          const double one = view.load(b, 0, at / 4, at % 4), other = view.load(b, h, at / 4, at % 4);
          EXPECT_TRUE(one == other || (std::isnan(one) && std::isnan(other))) << b << " " << h << " " << at;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

// What attention_fp64 must do to the last bit: with q = 0 every weight is 1, all sums are exact integers, and the
// answer is the mean of the visible values and ln of their count. NaN in a value shows whose product took it.

#include "gpu/attention_fp64.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "gpu/flash_problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Attention {
  Tensor q, k, v, out, lse;
  Band band{-kUnbounded, kUnbounded};

  Attention(std::int64_t batch, std::int64_t heads, std::int64_t seqlen_q, std::int64_t seqlen_kv, std::int64_t dim)
      : q(Dtype::kF64, {batch, heads, seqlen_q, dim}),
        k(Dtype::kF64, {batch, heads, seqlen_kv, dim}),
        v(k),
        out(q),
        lse(Dtype::kF64, {batch, heads, seqlen_q, 1}) {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t s = 0; s < seqlen_kv; ++s) {
          for (std::int64_t d = 0; d < dim; ++d) {
            k.view().store(b, h, s, d, static_cast<double>(s % 5) - 2);
            v.view().store(b, h, s, d, value(b, h, s, d));
          }
        }
      }
    }
  }
  static double value(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) {
    return static_cast<double>((b * 7 + h * 5 + s * 3 + d) % 17 - 8);
  }
  void run() {
    LocalProblem problem{};
    problem.band = band;
    problem.softmax_scale = 1;
    const TensorView lse_view = lse.view();
    on_host::attention_fp64(make_flash_params(problem, q.view(), k.view(), v.view(), out.view(), &lse_view), nullptr);
  }
  double mean(std::int64_t b, std::int64_t h, std::int64_t row, std::int64_t d) const {
    const KeyRange keys = visible_keys(band, row, k.shape()[2]);
    double sum = 0;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += value(b, h, j, d);
    return keys.count() > 0 ? sum / static_cast<double>(keys.count()) : 0.0;
  }
};

TEST(AttentionFp64, RowOfEqualScoresIsTheMeanOfItsKeysToTheLastBit) {
  for (const std::int64_t dim : {3, 64, 65, 200}) {
    for (const Band& band : {Band{-kUnbounded, kUnbounded}, Band{-30, 7}, Band{-kUnbounded, -40}}) {
      Attention a(1, 2, 70, 90, dim);
      a.band = band;
      a.run();
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t i = 0; i < 70; ++i) {
          const auto count = static_cast<double>(visible_keys(band, i, 90).count());
          ASSERT_EQ(a.lse.view().load(0, h, i, 0), std::log(count)) << "row " << i;  // ln 0 = -inf
          for (std::int64_t d = 0; d < dim; ++d) ASSERT_EQ(a.out.view().load(0, h, i, d), a.mean(0, h, i, d)) << i;
        }
      }
    }
  }
}

// In tiles that some rows see whole, some in part and some not at all, before and after the first NaN.
TEST(AttentionFp64, NanInAValueReachesItsColumnOfExactlyTheRowsThatSeeIt) {
  for (const std::int64_t dim : {16, 136}) {
    Attention a(1, 1, 100, 100, dim);
    a.band = {-30, 2};
    a.v.view().store(0, 0, 37, 5, kNan);
    a.v.view().store(0, 0, 38, 9, std::numeric_limits<double>::infinity());
    a.run();
    for (std::int64_t i = 0; i < 100; ++i) {
      const KeyRange keys = visible_keys(a.band, i, 100);
      for (std::int64_t d = 0; d < dim; ++d) {
        const bool sees_nan = d == 5 && keys.begin <= 37 && 37 < keys.end;
        const bool sees_infinity = d == 9 && keys.begin <= 38 && 38 < keys.end;
        const double got = a.out.view().load(0, 0, i, d);
        if (sees_nan || sees_infinity) {
          ASSERT_FALSE(std::isfinite(got)) << "row " << i << " column " << d;
        } else {
          ASSERT_EQ(got, a.mean(0, 0, i, d)) << "row " << i << " column " << d;
        }
      }
    }
  }
}

// No keys: each block only writes its row, so that 66,000 of them are run in seconds.
TEST(AttentionFp64, BatchesTimesHeadsMayPassWhatAGridHoldsAlongY) {
  Attention a(33000, 2, 1, 0, 1);
  for (std::int64_t b = 0; b < 33000; ++b) {
    for (std::int64_t h = 0; h < 2; ++h) a.out.view().store(b, h, 0, 0, kNan);
  }
  a.run();
  std::int64_t wrong = 0;
  for (std::int64_t b = 0; b < 33000; ++b) {
    for (std::int64_t h = 0; h < 2; ++h) {
      const bool is_right = a.out.view().load(b, h, 0, 0) == 0.0 && std::isinf(a.lse.view().load(b, h, 0, 0));
      wrong += is_right ? 0 : 1;
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(AttentionFp64DeathTest, HeadDimBeyond256IsAProgrammersMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Attention a(1, 1, 2, 2, 257);
  EXPECT_DEATH(a.run(), "at most 256");
}

}  // namespace
}  // namespace ringproof

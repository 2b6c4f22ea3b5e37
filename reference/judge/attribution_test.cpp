#include "reference/judge/attribution.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "reference/judge/plain_kernel_test.h"

namespace ringproof {
namespace {

// What is said of a correct answer after `spoil`.
std::string attributed(const std::function<void(Got&)>& spoil, const std::string& dtype = "bf16") {
  const Reference reference =
      prepare(parse_case("fwd/" + dtype + "/b2.hq2.hkv1.sq60.skv100.dqk16.dv16/full/scale0.25/gauss:3/bhsd/single"), 1);
  Got got = run_plain(correct_kernel(reference.c.problem.dtype), reference);
  spoil(got);
  const Arithmetic arithmetic = resolve({}, reference.c.problem.dtype);
  return attribution_of(reference, arithmetic, got, compare("kernel", reference, arithmetic, got));
}

using Place = std::array<std::int64_t, 4>;
void change(const Tensor& tensor, const std::function<bool(const Place&)>& where,
            const std::function<double(double)>& how) {
  const TensorView view = tensor.view();
  for (std::int64_t b = 0; b < view.shape[0]; ++b)
    for (std::int64_t h = 0; h < view.shape[1]; ++h)
      for (std::int64_t i = 0; i < view.shape[2]; ++i)
        for (std::int64_t c = 0; c < view.shape[3]; ++c)
          if (where({b, h, i, c})) view.store(b, h, i, c, how(view.load(b, h, i, c)));
}

bool everywhere(const Place&) { return true; }

TEST(Attribution, NamesAFactorOfAllRows) {
  const auto shrink = [](Got& got) { change(got.out, everywhere, [](double x) { return x * 0.97; }); };
  EXPECT_EQ(attributed(shrink), "residual is O itself: every row scaled by 0.97");
  EXPECT_EQ(attributed(shrink, "fp32"), "residual is O itself: every row scaled by 0.97");
}

TEST(Attribution, NamesThePlaceAlone) {
  const auto negate = [](double x) { return -x; };
  const auto where = [&](const std::function<bool(const Place&)>& at) {
    return attributed([&](Got& got) { change(got.out, at, negate); }, "fp32");
  };
  EXPECT_EQ(where([](const Place& at) { return 16 <= at[2] && at[2] < 32; }),
            "residual is O itself: every row scaled by -1, in rows 16..31 only");
  EXPECT_EQ(where([](const Place& at) { return at[0] == 1 && at[1] == 0 && at[2] == 7; }),
            "residual is O itself: every row scaled by -1, in batch 1 only, in head 0 only, in row 7 only");
  EXPECT_EQ(attributed([](Got& got) {
              change(
                  got.out, [](const Place& at) { return at[3] >= 12; }, [](double x) { return 0.5 - x; });
            }),
            "residual lies in columns 12..15 only");
}

TEST(Attribution, NamesWhatIsWrongWithLse) {
  const auto lse = [](const std::function<double(double)>& how) {
    return attributed([&](Got& got) { change(got.lse, everywhere, how); });
  };
  EXPECT_EQ(lse([](double x) { return x + 0.693147; }), "lse is off by a constant 0.693");
  EXPECT_EQ(lse([](double x) { return x * 1.442695; }), "lse is scaled by 1.443: base 2");
  EXPECT_EQ(lse([](double x) { return -x; }), "lse is scaled by -1");
}

// A key of zeros in every row: l grows by exp(-L) of itself.
TEST(Attribution, NamesUnmaskedPadding) {
  const Reference reference = prepare(
      parse_case("fwd/bf16/b1.hq1.hkv1.sq200.skv30.dqk16.dv16/causal_top_left/scale0.25/gauss:3/bhsd/single"), 1);
  Got got = run_plain(correct_kernel(Dtype::kBf16), reference);
  for (std::int64_t row = 0; row < 200; ++row) {
    const double share = 1 / (1 + std::exp(-reference.want.lse.value[static_cast<std::size_t>(row)]));
    const auto of_row = [row](const Place& at) { return at[2] == row; };
    change(got.out, of_row, [share](double x) { return x * share; });
  }
  const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
  const std::string phrase = attribution_of(reference, arithmetic, got, compare("kernel", reference, arithmetic, got));
  EXPECT_EQ(phrase.rfind("residual is that of keys of zeros that take part: ", 0), 0u) << phrase;
}

TEST(Attribution, LeavesOutRowsThatAreGarbage) {
  const double nan = std::nan("");
  EXPECT_EQ(attributed([&](Got& got) { change(got.out, everywhere, [&](double) { return nan; }); }),
            "residual exceeds all values that rows see, in 240 rows");
  EXPECT_EQ(attributed([&](Got& got) {
              change(got.out, everywhere, [](double x) { return x * 0.97; });
              change(
                  got.out, [](const Place& at) { return at[2] == 3; }, [](double) { return 1e18; });
            }),
            "residual is O itself: every row scaled by 0.97");
}

TEST(Attribution, SaysNothingWhereNothingIsRejected) {
  EXPECT_EQ(attributed([](Got&) {}), "");
  EXPECT_EQ(attributed([](Got& got) { got.status = CallStatus::kFailed; }), "");
}

}  // namespace
}  // namespace ringproof

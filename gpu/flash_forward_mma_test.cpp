// flash_forward_mma, judged under every rounding a tensor core may have, for every way it is cut; and to the last bit
// where runs must agree with one another.

#include "gpu/flash_forward_mma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gpu/candidates.h"
#include "gpu/flash_problem.h"
#include "gpu/simt/runtime.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using simt::host::LaunchOptions;
using simt::host::MmaNumerics;
using simt::host::Order;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Candidate mma_candidate(Dtype dtype, const LaunchOptions& options = {}) {
  const std::string name = "flash_forward_mma_" + std::string(to_string(dtype));
  for (Candidate& candidate : gpu_candidates()) {
    if (candidate.name != name) continue;
    candidate.forward = [options](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                  const TensorView& out, const TensorView* lse, void*) {
      LaunchOptions copy = options;
      on_host::flash_forward_mma(make_flash_params(problem, q, k, v, out, lse), &copy);
      return Status::kOk;
    };
    return candidate;
  }
  throw Error("no candidate " + name);
}

CaseVerdict judge(const std::string& line, const LaunchOptions& options = {}) {
  const Reference reference = prepare(parse_case(line), 2);
  const Dtype dtype = reference.c.problem.dtype;
  const Candidate candidate = mma_candidate(dtype, options);
  Buffers buffers;
  const Arithmetic arithmetic = resolve(candidate.describe(dtype, Direction::kForward).arithmetic, dtype);
  return verify_case(compare(candidate.name, reference, arithmetic, run(candidate, reference, buffers)));
}

void expect_accepted(const std::string& line, const LaunchOptions& options = {}) {
  const CaseVerdict verdict = judge(line, options);
  EXPECT_EQ(verdict.outcome, Outcome::kAccepted) << line << "\n" << verdict.reason;
}

constexpr const char* kDtypes[]{"bf16", "fp16"};
constexpr const char* kHeadDims[]{"dqk8.dv8",     "dqk32.dv32",   "dqk40.dv64",   "dqk64.dv24",
                                  "dqk80.dv72",   "dqk96.dv96",   "dqk128.dv128", "dqk192.dv128",
                                  "dqk136.dv192", "dqk192.dv192", "dqk256.dv256", "dqk7.dv33"};

TEST(FlashForwardMma, AcceptedForEveryHeadDimUnderEveryMask) {
  for (const char* dtype : kDtypes) {
    for (const char* dims : kHeadDims) {
      const std::string head = std::string("fwd/") + dtype + "/b1.hq2.hkv1.sq150.skv190." + dims + "/";
      for (const char* mask : {"causal_bottom_right", "window(70,5)"}) {
        expect_accepted(head + mask + "/scale0.125/gauss:11/bhsd/single");
      }
    }
  }
}

TEST(FlashForwardMma, AcceptedUnderEveryRoundingOfATensorCore) {
  for (const MmaNumerics mma : {MmaNumerics::kSequentialFp32, MmaNumerics::kExactThenRound, MmaNumerics::kHopper}) {
    LaunchOptions options;
    options.mma = mma;
    for (const char* dtype : kDtypes) {
      const std::string head = std::string("fwd/") + dtype;
      expect_accepted(head + "/b1.hq2.hkv2.sq140.skv200.dqk64.dv64/causal_bottom_right/scale0.125/gauss:21/bhsd/single",
                      options);
      expect_accepted(head + "/b1.hq2.hkv1.sq70.skv300.dqk128.dv128/full/scale0.088388346/ascending:22/bhsd/single",
                      options);
      expect_accepted(head + "/b1.hq1.hkv1.sq64.skv256.dqk32.dv32/full/scale0.125/walsh_probe:23/bhsd/single", options);
      expect_accepted(head + "/b1.hq2.hkv2.sq64.skv128.dqk32.dv32/full/scale0.125/exact:24/bhsd/single", options);
      expect_accepted(head + "/b1.hq1.hkv1.sq40.skv260.dqk32.dv32/full/scale0.17677669/cancelling:25/bhsd/single",
                      options);
      expect_accepted(head + "/b1.hq2.hkv1.sq60.skv90.dqk64.dv64/full/scale0.125/large_offset(2000):26/bhsd/single",
                      options);
    }
  }
}

TEST(FlashForwardMma, AcceptedInEveryMemory) {
  for (const char* memory :
       {"bshd", "bhsd+gap8", "bhsd+gap3", "bhsd+dim2", "bhsd+broadcast_kv", "bhsd+mixed", "bhsd+page_end",
        "bhsd+huge_seq", "bhsd+huge_batch", "bhsd+alias", "bhsd+nan2", "bhsd+nan1"}) {
    expect_accepted(std::string("fwd/bf16/b2.hq4.hkv4.sq70.skv70.dqk40.dv40/causal_bottom_right/scale0.125/gauss:31/") +
                    memory + "/single");
  }
  expect_accepted("fwd/fp16/b1.hq4.hkv1.sq33.skv70.dqk96.dv64/full/scale0.1/gauss:75/bhsd+v_in_k/single");
  expect_accepted(
      "fwd/fp16/b1.hq4.hkv4.sq133.skv200.dqk64.dv64/block_sparse(24x40,keep0.4:3)/scale0.1/gauss:76/bshd+nan2/single");
  expect_accepted(
      "fwd/bf16/b1.hq2.hkv2.sq200.skv260.dqk64.dv64/document(70+0+100+1,3+9+200+0)/scale0.1/gauss:77/thd+nan2/single");
}

TEST(FlashForwardMma, AcceptedWithSoftcapSinkAndScalesOfEitherSign) {
  for (const char* dtype : kDtypes) {
    const std::string head = std::string("fwd/") + dtype + "/b1.hq4.hkv2.sq70.skv150.dqk32.dv32/";
    expect_accepted(head + "causal_bottom_right/scale0.25,softcap5,sink/gauss:41/bhsd/single");
    expect_accepted(head + "window(10,2)/scale0.25,sink/gauss:42/bhsd/single");
    expect_accepted(head + "full/scale-0.25/gauss:43/bhsd/single");
    expect_accepted(head + "causal_top_left/scale0/gauss:44/bhsd/single");
    expect_accepted(head + "causal_top_left/scale-0.25,softcap30/peaked:45/bhsd/single");
  }
  expect_accepted("fwd/bf16/b1.hq2.hkv1.sq90.skv40.dqk64.dv64/causal_bottom_right/scale0.25,sink/gauss:46/bhsd/single");
}

TEST(FlashForwardMma, AcceptedWhereBatchTimesHeadsPasses65535) {
  expect_accepted("fwd/bf16/b16400.hq4.hkv1.sq1.skv0.dqk8.dv8/full/scale0.125,sink/gauss:51/bhsd/single");
}

/// A dense attention problem in 16-bit storage; every element has a number of its own.
struct Attention {
  LocalProblem problem;
  Tensor q, k, v, out, lse;

  Attention(Dtype storage, std::int64_t seqlen_q, std::int64_t seqlen_kv, std::int64_t head_dim, Band band)
      : problem{1, 2, 2, seqlen_q, seqlen_kv, head_dim, head_dim, band, 0.25},
        q(storage, {1, 2, seqlen_q, head_dim}),
        k(storage, {1, 2, seqlen_kv, head_dim}),
        v(storage, {1, 2, seqlen_kv, head_dim}),
        out(storage, {1, 2, seqlen_q, head_dim}),
        lse(Dtype::kF32, {1, 2, seqlen_q, 1}) {
    std::uint32_t bits = 1;
    for (const Tensor* tensor : {&q, &k, &v}) {
      for_each(*tensor, [&](const TensorView& view, auto... index) {
        bits = bits * 1664525u + 1013904223u;
        view.store(index..., static_cast<double>(static_cast<std::int32_t>(bits)) * 0x1p-30);
      });
    }
  }
  template <class F>
  static void for_each(const Tensor& tensor, F visit) {
    const TensorView view = tensor.view();
    for (std::int64_t h = 0; h < view.shape[1]; ++h) {
      for (std::int64_t s = 0; s < view.shape[2]; ++s) {
        for (std::int64_t d = 0; d < view.shape[3]; ++d) visit(view, std::int64_t{0}, h, s, d);
      }
    }
  }
  void run(const LaunchOptions& options = {}) {
    LaunchOptions copy = options;
    const TensorView lse_view = lse.view();
    on_host::flash_forward_mma(make_flash_params(problem, q.view(), k.view(), v.view(), out.view(), &lse_view), &copy);
  }
  bool sees(std::int64_t row, std::int64_t key) const {
    return row + problem.band.lo <= key && key <= row + problem.band.hi;
  }
};

TEST(FlashForwardMma, OrderOfThreadsAndTheirCountChangeNoBit) {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF16}) {
    for (const std::int64_t head_dim : {64, 96, 256}) {
      Attention want(dtype, 150, 170, head_dim, {-90, 10});
      want.run({Order::kForward, 0, 1});
      for (const LaunchOptions& options : {LaunchOptions{Order::kReverse, 0, 1}, LaunchOptions{Order::kRandom, 1, 1},
                                           LaunchOptions{Order::kRandom, 2, 2}, LaunchOptions{Order::kForward, 0, 3}}) {
        Attention got(want);
        got.run(options);
        EXPECT_EQ(got.out.bytes(), want.out.bytes());
        EXPECT_EQ(got.lse.bytes(), want.lse.bytes());
      }
    }
  }
}

TEST(FlashForwardMma, NanAndInfinityInWhatARowDoesNotSeeDoNotTouchIt) {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF16}) {
    for (const Band band : {Band{-kUnbounded, 0}, Band{-20, 3}, Band{10, kUnbounded}}) {
      for (const std::int64_t key : {0, 5, 64, 99}) {
        for (const double value : {kNan, kInfinity, -kInfinity}) {
          Attention want(dtype, 100, 100, 40, band), got(want);
          for (std::int64_t d = 0; d < 40; ++d) {
            got.k.view().store(0, 0, key, d, value);
            got.v.view().store(0, 0, key, d, value);
          }
          want.run();
          got.run();
          int different = 0;
          Attention::for_each(want.out, [&](const TensorView& view, auto b, auto h, auto s, auto d) {
            if (h == 0 && want.sees(s, key)) return;
            if (view.load(b, h, s, d) != got.out.view().load(b, h, s, d)) ++different;
            if (want.lse.view().load(b, h, s, 0) != got.lse.view().load(b, h, s, 0)) ++different;
          });
          EXPECT_EQ(different, 0) << "key " << key << " = " << value << ", band from " << band.lo;
        }
      }
    }
  }
}

// Also where the weight of that value underflows to 0, and in tiles that some rows see in part only.
TEST(FlashForwardMma, NanInAValueReachesItsColumnOfEveryRowThatSeesIt) {
  for (const std::int64_t key : {3, 66, 130}) {
    Attention a(Dtype::kBf16, 200, 200, 40, {-50, 10});
    a.problem.softmax_scale = 400;
    a.v.view().store(0, 1, key, 7, kNan);
    a.run();
    Attention::for_each(a.out, [&](const TensorView& view, auto b, auto h, auto s, auto d) {
      const bool want = h == 1 && d == 7 && a.sees(s, key);
      EXPECT_EQ(std::isnan(view.load(b, h, s, d)), want) << "key " << key << " row " << s << " column " << d;
      EXPECT_FALSE(std::isnan(a.lse.view().load(b, h, s, 0)));
    });
  }
}

TEST(FlashForwardMma, NanInAKeyReachesEveryRowThatSeesItAndInAQueryItsOwn) {
  Attention a(Dtype::kF16, 100, 100, 40, {-kUnbounded, 0});
  a.k.view().store(0, 0, 70, 3, kNan);
  a.q.view().store(0, 0, 41, 0, kNan);
  a.run();
  Attention::for_each(a.out, [&](const TensorView& view, auto b, auto h, auto s, auto d) {
    const bool want = h == 0 && (s >= 70 || s == 41);
    EXPECT_EQ(std::isnan(view.load(b, h, s, d)), want) << "row " << s;
    EXPECT_EQ(std::isnan(a.lse.view().load(b, h, s, 0)), want) << "row " << s;
  });
}

TEST(FlashForwardMma, NegativeScaleTurnsTheScores) {
  Attention plus(Dtype::kBf16, 70, 90, 128, {-30, kUnbounded}), minus(plus);
  minus.problem.softmax_scale = -plus.problem.softmax_scale;
  Attention::for_each(minus.q,
                      [](const TensorView& view, auto... index) { view.store(index..., -view.load(index...)); });
  plus.run();
  minus.run();
  EXPECT_EQ(minus.out.bytes(), plus.out.bytes());
  EXPECT_EQ(minus.lse.bytes(), plus.lse.bytes());
}

TEST(FlashForwardMma, PartialOInFp32RoundsToTheOneInStorage) {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF16}) {
    Attention narrow(dtype, 70, 90, 24, {-kUnbounded, 5}), wide(narrow);
    wide.out = Tensor(Dtype::kF32, narrow.out.shape());
    narrow.run();
    wide.run();
    EXPECT_EQ(narrow.lse.bytes(), wide.lse.bytes());
    Attention::for_each(narrow.out, [&](const TensorView& view, auto... index) {
      EXPECT_EQ(view.load(index...), round_to(dtype, wide.out.view().load(index...)));
    });
  }
}

TEST(FlashForwardMma, RowsWithoutKeysAreZeroAndSequencesWithoutElementsAreLegal) {
  Attention no_keys(Dtype::kBf16, 67, 0, 64, {-kUnbounded, kUnbounded});
  no_keys.run();
  Attention none_visible(Dtype::kBf16, 67, 80, 64, {90, kUnbounded});
  none_visible.run();
  for (const Attention* a : {&no_keys, &none_visible}) {
    Attention::for_each(a->out, [&](const TensorView& view, auto b, auto h, auto s, auto d) {
      EXPECT_EQ(view.load(b, h, s, d), 0.0);
      EXPECT_EQ(a->lse.view().load(b, h, s, 0), -kInfinity);
    });
  }
  Attention no_queries(Dtype::kBf16, 0, 9, 64, {-kUnbounded, kUnbounded});
  EXPECT_NO_THROW(no_queries.run());
}

TEST(FlashForwardMmaDeathTest, WhatTheKernelIsNotCutForIsAProgrammersMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Attention wide(Dtype::kBf16, 2, 2, 264, {-kUnbounded, kUnbounded});
  EXPECT_DEATH(wide.run(), "at most 256");
  Attention fp32(Dtype::kF32, 2, 2, 64, {-kUnbounded, kUnbounded});
  EXPECT_DEATH(fp32.run(), "takes bf16 and fp16");
}

}  // namespace
}  // namespace ringproof

#include "reference/oracle/partial_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "reference/judge/bound_forward.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Partial {
  Tensor out, lse;
};

// Keys [begin, end) of the Case, with the band shifted to them.
Partial partial_of(const Case& c, const Inputs& inputs, std::int64_t begin, std::int64_t end) {
  const Problem& p = c.problem;
  const Band band = band_of(p.mask, p.seqlen_q, p.seqlen_kv);
  const LocalProblem local{p.batch,        p.heads_q,     p.heads_kv,   p.seqlen_q,
                           end - begin,    p.head_dim_qk, p.head_dim_v, {band.lo - begin, band.hi - begin},
                           p.softmax_scale};
  const auto keys = [&](const Tensor& tensor) {
    TensorView view = tensor.view();
    view.data = view.at(0, 0, begin, 0);
    view.shape[2] = end - begin;
    return view;
  };
  Partial partial{{Dtype::kF64, p.shape_out()}, {Dtype::kF64, p.shape_lse()}};
  partial_attention(local, inputs.q.view(), keys(inputs.k), keys(inputs.v), partial.out.view(), partial.lse.view());
  return partial;
}

void expect_within(const std::string& what, const Tensor& got, const WideValues& want,
                   const std::vector<double>& bound) {
  const auto* const values = reinterpret_cast<const double*>(got.bytes().data());
  for (std::size_t at = 0; at < want.value.size(); ++at) {
    if (values[at] == want.value[at] && want.tail_at(at) == 0) continue;
    EXPECT_LE(std::fabs((values[at] - want.value[at]) - want.tail_at(at)), bound[at]) << what << " element " << at;
  }
}

// What plain double arithmetic with that many merges may be wrong by, judged like any fp64 candidate.
void expect_whole(const Case& c, const ForwardAnswer& want, const Partial& got, std::int64_t merges) {
  Arithmetic arithmetic;
  arithmetic.merges = merges;
  const Bounds bounds = bound_forward(c, resolve(arithmetic, Dtype::kF64), want);
  const std::string what = to_string(c) + " with " + std::to_string(merges) + " merges";
  expect_within(what + " out", got.out, want.out, bounds.out);
  expect_within(what + " lse", got.lse, want.lse, bounds.lse);
}

TEST(PartialAttention, OfAnySplitMergesToTheWholeWithinTheDerivedBound) {
  for (const char* mask : {"full", "causal_top_left", "causal_bottom_right", "window(3,1)"}) {
    for (const char* recipe : {"gauss:5", "peaked:5", "sink:5", "large_offset(2000):5"}) {
      const Case c = parse_case(std::string("fwd/fp64/b2.hq2.hkv1.sq13.skv11.dqk8.dv3/") + mask + "/scale0.35/" +
                                recipe + "/bhsd/single");
      const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
      const ForwardAnswer want = attention_forward(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), 1);
      expect_whole(c, want, partial_of(c, inputs, 0, 11), 0);
      for (const std::vector<std::int64_t>& ends :
           {std::vector<std::int64_t>{0, 11}, {4, 11}, {11, 11}, {1, 5, 11}, {3, 3, 4, 10, 11}}) {
        Partial running = partial_of(c, inputs, 0, ends[0]);
        for (std::size_t part = 1; part < ends.size(); ++part) {
          const Partial other = partial_of(c, inputs, ends[part - 1], ends[part]);
          merge_partials(running.out.view(), running.lse.view(), other.out.view(), other.lse.view());
        }
        expect_whole(c, want, running, static_cast<std::int64_t>(ends.size()) - 1);
      }
    }
  }
}

TEST(PartialAttention, TakesNarrowStorageForTheNumbersItHolds) {
  const Case narrow = parse_case("fwd/bf16/b1.hq2.hkv1.sq5.skv7.dqk8.dv3/window(2,0)/scale0.5/gauss:5/bhsd/single");
  const Case wide = parse_case("fwd/fp64/b1.hq2.hkv1.sq5.skv7.dqk8.dv3/window(2,0)/scale0.5/gauss:5/bhsd/single");
  const Inputs inputs = make_inputs(narrow.problem, narrow.inputs, narrow.memory);
  const auto widened = [](const Tensor& from) {
    Tensor to(Dtype::kF64, from.shape());
    for (std::int64_t h = 0; h < from.shape()[1]; ++h) {
      for (std::int64_t s = 0; s < from.shape()[2]; ++s) {
        for (std::int64_t d = 0; d < from.shape()[3]; ++d) to.view().store(0, h, s, d, from.view().load(0, h, s, d));
      }
    }
    return to;
  };
  const Inputs same{widened(inputs.q), widened(inputs.k), widened(inputs.v)};
  const Partial got = partial_of(narrow, inputs, 2, 6), want = partial_of(wide, same, 2, 6);
  EXPECT_EQ(got.out.bytes(), want.out.bytes());
  EXPECT_EQ(got.lse.bytes(), want.lse.bytes());
}

TEST(PartialAttention, LeavesRowsThatSeeNoKeyOfTheBlockEmpty) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq6.skv6.dqk4.dv2/causal_top_left/scale0.5/gauss:5/bhsd/single");
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  const Partial last = partial_of(c, inputs, 4, 6);
  for (std::int64_t row = 0; row < 6; ++row) {
    EXPECT_EQ(last.lse.view().load(0, 0, row, 0) == -kInfinity, row < 4);
    EXPECT_EQ(last.out.view().load(0, 0, row, 1) == 0, row < 4);
  }
}

Partial one_row(double out, double lse) {
  Partial partial{{Dtype::kF64, {1, 1, 1, 1}}, {Dtype::kF64, {1, 1, 1, 1}}};
  partial.out.view().store(0, 0, 0, 0, out);
  partial.lse.view().store(0, 0, 0, 0, lse);
  return partial;
}

void expect_merged(const Partial& one, const Partial& other, double out, double lse) {
  merge_partials(one.out.view(), one.lse.view(), other.out.view(), other.lse.view());
  EXPECT_EQ(one.out.view().load(0, 0, 0, 0), out);
  EXPECT_EQ(one.lse.view().load(0, 0, 0, 0), lse);
}

TEST(MergedPartials, KeepTheSideThatIsNotEmptyAndWeighEqualSidesAlike) {
  expect_merged(one_row(0, -kInfinity), one_row(3, -2), 3, -2);
  expect_merged(one_row(3, -2), one_row(0, -kInfinity), 3, -2);
  expect_merged(one_row(0, -kInfinity), one_row(0, -kInfinity), 0, -kInfinity);
  expect_merged(one_row(3, 10000), one_row(5, 10000), 4, 10000 + std::log(2.0));
  expect_merged(one_row(3, -10000), one_row(5, 10000), 5, 10000);
}

}  // namespace
}  // namespace ringproof

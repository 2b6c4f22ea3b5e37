#include "reference/oracle/fast/fast_forward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "reference/judge/bound_fast_oracle.h"
#include "reference/judge/bound_oracle.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/fast/targets_test.h"
#include "reference/oracle/fast_rounding.h"
#include "reference/oracle/rises.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

struct Question {
  Problem problem;
  Inputs inputs;
};

Question question(const std::string& line) {
  const Case c = parse_case(line);
  Question asked{c.problem, make_inputs(c.problem, c.inputs, c.memory)};
  asked.problem = with_data(asked.problem, asked.inputs);
  return asked;
}

ForwardAnswer fast(const Question& asked, int threads = 2) {
  return fast_attention_forward(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(), asked.inputs.v.view(),
                                threads);
}

ForwardAnswer plain(const Question& asked) {
  return attention_forward(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(), asked.inputs.v.view(), 2);
}

// Masks, dtypes, recipes, odd sizes, groups, empty rows, no keys, no rows, one key, several panels and key blocks.
const std::vector<std::string> kLines{
    "fwd/fp32/b1.hq2.hkv1.sq100.skv300.dqk16.dv16/document(30+0+50+19,100+20+0+170)+causal/scale0.25/gauss:4/bhsd/"
    "single",
    "fwd/bf16/b1.hq2.hkv1.sq100.skv500.dqk16.dv8/block_sparse(32x16,keep0.3:1)/scale0.25/gauss:4/bhsd/zigzag3",
    "fwd/fp16/b1.hq1.hkv1.sq70.skv450.dqk16.dv8/block_sparse(16x64,keep0.5:2)/scale0.25/gauss:4/bhsd/single",
    "fwd/bf16/b1.hq1.hkv1.sq3.skv40000.dqk8.dv3/full/scale0.35/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq3.skv40000.dqk8.dv3/window(39000,0)/scale0.35/gauss:4/bhsd/zigzag2",
    "fwd/fp32/b1.hq1.hkv1.sq130.skv300.dqk64.dv64/full/scale0.125/gauss:4/bhsd/single",
    "fwd/bf16/b2.hq4.hkv2.sq101.skv97.dqk32.dv16/causal_bottom_right/scale0.18/gauss:5/bhsd/single",
    "fwd/fp16/b1.hq3.hkv1.sq97.skv141.dqk37.dv19/causal_top_left/scale0.25/gauss:6/bshd/zigzag3",
    "fwd/fp32/b1.hq2.hkv1.sq150.skv150.dqk16.dv9/window(20,3)/scale0.25/peaked:4/bhsd/striped2",
    "fwd/bf16/b1.hq1.hkv1.sq64.skv200.dqk8.dv1/window(0,0)/scale0.35/gauss:4/bhsd/single",
    "fwd/fp16/b1.hq2.hkv2.sq60.skv9.dqk7.dv3/causal_bottom_right/scale0.5/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq2.hkv1.sq70.skv260.dqk64.dv24/full/scale0.125/sink:4/bhsd/contiguous4",
    "fwd/bf16/b1.hq1.hkv1.sq49.skv512.dqk64.dv64/full/scale0.125/walsh_probe:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq33.skv140.dqk16.dv8/causal_top_left/scale0.25/uniform_probe:4/bhsd/single",
    "fwd/bf16/b1.hq1.hkv1.sq50.skv128.dqk64.dv64/full/scale0.125/exact:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq50.skv129.dqk64.dv64/full/scale0.125/large_offset(100):4/bhsd/single",
    "fwd/fp16/b1.hq2.hkv1.sq40.skv77.dqk64.dv64/causal_bottom_right/scale-0.125/head_coded:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq3.skv0.dqk4.dv2/full/scale1/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq0.skv5.dqk4.dv2/full/scale1/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq1.hkv1.sq1.skv1.dqk1.dv1/full/scale1/gauss:4/bhsd/single",
    "fwd/fp32/b1.hq4.hkv2.sq60.skv300.dqk16.dv9/causal_bottom_right/scale0.25,softcap5/gauss:451/bhsd/single",
    "fwd/fp32/b1.hq2.hkv2.sq9.skv5.dqk16.dv16/causal_bottom_right/scale0.25,softcap30,sink/peaked:453/bhsd/single",
    "fwd/bf16/b1.hq4.hkv2.sq70.skv400.dqk16.dv16/full/scale0.25,softcap20,sink/peaked:456/bhsd/zigzag2",
    "fwd/fp16/b1.hq2.hkv2.sq20.skv20000.dqk16.dv4/full/scale0.25,sink/gauss:4/bhsd/single",
    "fwd/fp8_e4m3/b1.hq2.hkv1.sq50.skv333.dqk16.dv8/causal_bottom_right/scale0.25,softcap20,sink,descale(0.7,1.3,3)/"
    "peaked:458/bhsd/single",
    "fwd/fp8_e5m2/b1.hq4.hkv2.sq24.skv140.dqk16.dv16/window(9,2)/scale0.25,descale(0.5,1.5,0.75)/gauss:460/bhsd/"
    "single"};

// Values of very different magnitudes: what single precision alone would overflow or lose.
Question of_wide_range() {
  Question asked =
      question("fwd/fp32/b1.hq1.hkv1.sq60.skv90.dqk4.dv3/causal_bottom_right/scale0.5/gauss:4/bhsd/single");
  for (std::int64_t j = 0; j < 90; ++j) {
    const double factors_v[]{0x1p120, 0x1p-120, j % 3 == 0 ? 0x1p100 : 0x1p-100};
    for (std::int64_t c = 0; c < 3; ++c) {
      const TensorView v = asked.inputs.v.view();
      v.store(0, 0, j, c, v.load(0, 0, j, c) * factors_v[c]);
    }
    for (std::int64_t c = 0; c < 4; ++c) {
      const TensorView q = asked.inputs.q.view(), k = asked.inputs.k.view();
      k.store(0, 0, j, c, k.load(0, 0, j, c) * 0x1p90);
      if (j < 60) q.store(0, 0, j, c, q.load(0, 0, j, c) * 0x1p-90);
    }
  }
  return asked;
}

// Scores that lie whole ulps apart, where the near tie is 44.
Question of_near_ties() {
  Question asked = question("fwd/fp32/b1.hq1.hkv1.sq3.skv400.dqk20.dv1/full/scale1/gauss:4/bhsd/single");
  std::uint32_t bits = 1;
  for (std::int64_t j = 0; j < 400; ++j) {
    bits = bits * 1664525u + 1013904223u;
    for (std::int64_t c = 0; c < 20; ++c) {
      if (j < 3) asked.inputs.q.view().store(0, 0, j, c, c == 0 ? 1 : 0);
      asked.inputs.k.view().store(0, 0, j, c, c == 0 ? 1 + (bits >> 8) % 300 * 0x1p-23 : 0);
    }
  }
  return asked;
}

// One key at the maximum and many of one lesser weight, values constant per column: all that is left is how sums round.
Question of_equal_weights() {
  Question asked = question("fwd/fp32/b1.hq1.hkv1.sq64.skv900.dqk1.dv8/full/scale1/gauss:4/bhsd/single");
  for (std::int64_t j = 0; j < 900; ++j) {
    if (j < 64) asked.inputs.q.view().store(0, 0, j, 0, 0.01 * static_cast<double>(j + 1));
    asked.inputs.k.view().store(0, 0, j, 0, j == 0 ? 1 : 0);
    for (std::int64_t c = 0; c < 8; ++c) asked.inputs.v.view().store(0, 0, j, c, 1 + 0.1 * static_cast<double>(c));
  }
  return asked;
}

// Sinks that have all the weight, none, and some; keys that are far from 0 in the mean.
Question of_heavy_sinks() {
  Question asked = question("fwd/fp32/b1.hq5.hkv1.sq40.skv200.dqk8.dv4/full/scale0.35,sink/gauss:4/bhsd/single");
  asked.inputs.sink = {1200, 400, 6, 0, -1200};
  asked.problem = with_data(asked.problem, asked.inputs);
  for (std::int64_t j = 0; j < 200; ++j) {
    const TensorView v = asked.inputs.v.view();
    v.store(0, 0, j, 0, v.load(0, 0, j, 0) * 0x1p-6 + 3);
    v.store(0, 0, j, 1, j == 0 ? 1e3 : 1);
  }
  return asked;
}

std::vector<Question> questions() {
  std::vector<Question> all;
  for (const std::string& line : kLines) all.push_back(question(line));
  all.push_back(of_heavy_sinks());
  all.push_back(of_wide_range());
  all.push_back(of_equal_weights());
  all.push_back(of_near_ties());
  return all;
}

// The worst error / bound; +inf when some error exceeds 0 and its bound is 0, or is NaN.
double used(const std::vector<double>& got, const std::vector<double>& want, const std::vector<double>& bound) {
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    const double error = std::fabs(got[i] - want[i]);
    EXPECT_LE(error, bound[i]) << "element " << i << " got " << got[i] << " want " << want[i];
    worst = std::max(worst, error / bound[i]);
  }
  return worst;
}

std::vector<double> sums_of(const std::vector<double>& one, const std::vector<double>& other) {
  std::vector<double> sum;
  for (std::size_t i = 0; i < one.size(); ++i) sum.push_back(one[i] + other[i]);
  return sum;
}

TEST(FastForwardOracle, AgreesWithThePlainOneWithinBothDerivedErrors) {
  const std::vector<Question> all = questions();
  std::vector<ForwardAnswer> wants;
  for (const Question& asked : all) wants.push_back(plain(asked));
  on_every_target([&](const std::string& target) {
    double worst_out = 0, worst_lse = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(target + " question " + std::to_string(i));
      const ForwardAnswer got = fast(all[i]);
      const Bounds own = fast_oracle_error(all[i].problem, got), other = oracle_error(all[i].problem, wants[i]);
      worst_out = std::max(worst_out, used(got.out.value, wants[i].out.value, sums_of(own.out, other.out)));
      worst_lse = std::max(worst_lse, used(got.lse.value, wants[i].lse.value, sums_of(own.lse, other.lse)));
      worst_lse =
          std::max(worst_lse, used(got.lse_keys.value, wants[i].lse_keys.value, sums_of(own.lse_keys, other.lse_keys)));
      EXPECT_TRUE(got.is_fast);
      EXPECT_EQ(got.unit_roundoff, 0x1p-53);
    }
    std::printf("%s: bound used %.3f (O), %.3f (lse)\n", target.c_str(), worst_out, worst_lse);
  });
}

// The same bits in fp64 storage make the plain oracle answer in long double: exact for this purpose.
TEST(FastForwardOracle, LiesWithinItsOwnErrorOfTheLongDoubleAnswer) {
  for (const Question& asked : questions()) {
    SCOPED_TRACE(asked.problem.head_dim_qk);
    Question wide{asked.problem, {}};
    wide.problem.dtype = Dtype::kF64;
    const auto widened = [](const Tensor& from) {
      const Tensor to(Dtype::kF64, from.shape());
      const auto& [batches, heads, rows, columns] = from.shape();
      for (std::int64_t row = 0; row < batches * heads * rows; ++row) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::int64_t b = row / (heads * rows), h = row / rows % heads, s = row % rows;
          to.view().store(b, h, s, c, from.view().load(b, h, s, c));
        }
      }
      return to;
    };
    wide.inputs = {widened(asked.inputs.q), widened(asked.inputs.k), widened(asked.inputs.v)};
    const ForwardAnswer got = fast(asked), want = plain(wide);
    const Bounds own = fast_oracle_error(asked.problem, got), exact = oracle_error(wide.problem, want);
    // The tail of a long double answer is at most half an ulp of a double, which plain's own rounding bounds too.
    Bounds tails = exact;
    for (std::size_t i = 0; i < want.out.value.size(); ++i) tails.out[i] += std::fabs(want.out.tail_at(i));
    for (std::size_t i = 0; i < want.lse.value.size(); ++i) tails.lse[i] += std::fabs(want.lse.tail_at(i));
    EXPECT_LE(used(got.out.value, want.out.value, sums_of(own.out, tails.out)), 1);
    EXPECT_LE(used(got.lse.value, want.lse.value, sums_of(own.lse, tails.lse)), 1);
    for (std::size_t i = 0; i < want.lse_keys.value.size(); ++i)
      tails.lse_keys[i] += std::fabs(want.lse_keys.tail_at(i));
    EXPECT_LE(used(got.lse_keys.value, want.lse_keys.value, sums_of(own.lse_keys, tails.lse_keys)), 1);
  }
}

// got is an upper bound of want (rounded by at most `up`), and no more than `raise` and `more` above it.
void expect_raised(double got, double want, double up, double raise, double more, const char* name) {
  EXPECT_LE(want, got * up) << name;
  EXPECT_LE(got, want * raise * up + more) << name << " of " << want;
}

// Half of what the header lets a gap be raised by.
double apart_of(const Problem& problem, const RowScalars& row) {
  const double of_products =
      static_cast<double>(problem.head_dim_qk + 1) * std::fabs(problem.softmax_scale) * row.d_max;
  return 2.02 * 0x1p-53 * (of_products + kFastCapUlps * problem.softcap);
}

void expect_raised_scalars(const Problem& problem, const RowScalars& got, const RowScalars& want, double roundoff,
                           double d_unit) {
  const double n = static_cast<double>(want.visible_count), up = rounding_up(want.visible_count);
  const double of_d = raise_of_row(problem, got, roundoff), of_d2 = of_d * of_d;
  const double raise = raise_of_row(problem, got, 0x1p-24), raise2 = raise * raise, raise4 = raise2 * raise2;
  const double apart = 2 * apart_of(problem, got) + n * 0x1p-989;
  const double lost = 2 * static_cast<double>(problem.head_dim_qk) * 0x1p-60 * d_unit;
  const auto square = [](double x) { return x * x; };
  EXPECT_EQ(got.visible_count, want.visible_count);
  expect_raised(got.p_max, want.p_max, up, raise2, 0, "p_max");
  expect_raised(got.sum_p_squared, want.sum_p_squared, up, raise2, 0, "sum_p_squared");
  expect_raised(got.mean_d, want.mean_d, up, of_d2, lost, "mean_d");
  expect_raised(std::sqrt(got.mean_d_squared), std::sqrt(want.mean_d_squared), up, of_d2, lost, "mean_d_squared");
  expect_raised(got.d_max, want.d_max, up, of_d2, lost, "d_max");
  expect_raised(got.abs_sum_max, want.abs_sum_max, up, 1, 0, "abs_sum_max");
  expect_raised(got.mean_gap, want.mean_gap, up, raise2, raise2 * apart, "mean_gap");
  expect_raised(got.mean_gap_squared, want.mean_gap_squared, up, raise4,
                square(raise2 * (std::sqrt(want.mean_gap_squared) + apart)) - want.mean_gap_squared,
                "mean_gap_squared");
  expect_raised(got.gap_max, want.gap_max, up, 1, apart, "gap_max");
  EXPECT_EQ(got.sink, want.sink);
  EXPECT_EQ(got.p_sink > 0, want.p_sink > 0);
  EXPECT_GE(got.rises, want.rises);
  EXPECT_GE(got.rises_any_split, want.rises_any_split);
  EXPECT_EQ(got.visible_ranges, want.visible_ranges);
}

struct Column {
  double largest = 0, mean = 0;  // of the head's values
};

std::vector<Column> columns_of(const TensorView& v, std::int64_t b, std::int64_t h, double descale) {
  std::vector<Column> columns(static_cast<std::size_t>(v.shape[3]));
  for (std::int64_t j = 0; j < v.shape[2]; ++j) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const double value = v.load(b, h, j, static_cast<std::int64_t>(c)) * descale;
      columns[c].largest = std::max(columns[c].largest, std::fabs(value));
      columns[c].mean += value;
    }
  }
  for (Column& column : columns) column.mean /= static_cast<double>(std::max<std::int64_t>(v.shape[2], 1));
  return columns;
}

void expect_raised_element(const Problem& problem, const ForwardAnswer& got, const ForwardAnswer& want, std::size_t row,
                           std::size_t at, double want_error, const Column& column) {
  const RowStatistics &g = got.statistics, &w = want.statistics;
  const double n = static_cast<double>(w.rows[row].visible_count), up = rounding_up(w.rows[row].visible_count);
  const double raise = raise_of_row(problem, g.rows[row], got.statistics_roundoff), raise2 = raise * raise,
               raise4 = raise2 * raise2;
  const double unit = 4 * column.largest, lost = 2 * n * 0x1p-123 * unit, lost2 = lost * unit;
  expect_raised(g.p_abs_v[at], w.p_abs_v[at], up, raise2, lost, "p_abs_v");
  expect_raised(g.p2_v2[at], w.p2_v2[at], up, raise2, lost2, "p2_v2");
  expect_raised(g.sum_abs_v[at], w.sum_abs_v[at], up, 1, 0, "sum_abs_v");
  EXPECT_EQ(g.max_abs_v[at], w.max_abs_v[at]);
  const double p2_abs_v = std::sqrt(g.rows[row].sum_p_squared * g.p2_v2[at]);  // at least sum p^2 |v|
  EXPECT_LE(std::fabs(g.p2_v[at] - w.p2_v[at]), (raise2 - 1) * p2_abs_v + lost);
  const double to_centre = std::fabs(want.out.value[at] - column.mean);
  const double about_centre = w.p_variance[at] + to_centre * to_centre;
  const double out_error = (raise - 1) * g.p_abs_v[at];
  // The plain oracle's variance is about its own O, which is wrong by want_error.
  EXPECT_LE(std::sqrt(w.p_variance[at]), std::sqrt(g.p_variance[at] * up) + want_error);
  EXPECT_LE(g.p_variance[at], w.p_variance[at] * up + (raise4 - 1) * about_centre + 4 * to_centre * out_error + lost2);
}

TEST(FastForwardOracle, RaisesEveryStatisticAndByNoMoreThanItSays) {
  const std::vector<Question> all = questions();
  std::vector<ForwardAnswer> wants;
  std::vector<Bounds> errors;
  for (const Question& asked : all) {
    wants.push_back(plain(asked));
    errors.push_back(oracle_error(asked.problem, wants.back()));
  }
  on_every_target([&](const std::string& target) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(target + " question " + std::to_string(i));
      const Problem& p = all[i].problem;
      const ForwardAnswer got = fast(all[i]), &want = wants[i];
      const std::size_t rows_of_head = static_cast<std::size_t>(p.seqlen_q),
                        width = static_cast<std::size_t>(p.head_dim_v);
      std::vector<Column> columns;
      for (std::size_t row = 0; row < want.lse.value.size(); ++row) {
        if (row % rows_of_head == 0) {
          const auto head = static_cast<std::int64_t>(row / rows_of_head);
          columns =
              columns_of(all[i].inputs.v.view(), head / p.heads_q, head % p.heads_q / p.heads_per_group(), p.descale_v);
        }
        constexpr double d_unit = 0x1p30;  // no product of a q and a k is larger here
        expect_raised_scalars(p, got.statistics.rows[row], want.statistics.rows[row], got.statistics_roundoff, d_unit);
        for (std::size_t c = 0; c < width; ++c)
          expect_raised_element(p, got, want, row, row * width + c, errors[i].out[row * width + c], columns[c]);
      }
    }
  });
}

void expect_same_bits(const ForwardAnswer& one, const ForwardAnswer& other) {
  EXPECT_EQ(one.out.value, other.out.value);
  EXPECT_EQ(one.lse.value, other.lse.value);
  const RowStatistics &a = one.statistics, &b = other.statistics;
  for (const auto member : {&RowStatistics::p_abs_v, &RowStatistics::p_variance, &RowStatistics::p2_v2,
                            &RowStatistics::p2_v, &RowStatistics::sum_abs_v, &RowStatistics::max_abs_v}) {
    EXPECT_EQ(a.*member, b.*member);
  }
  for (const auto member :
       {&RowScalars::score_max, &RowScalars::lse, &RowScalars::p_max, &RowScalars::sum_p_squared, &RowScalars::mean_d,
        &RowScalars::mean_d_squared, &RowScalars::d_max, &RowScalars::abs_sum_max, &RowScalars::mean_gap,
        &RowScalars::mean_gap_squared, &RowScalars::gap_max}) {
    for (std::size_t row = 0; row < a.rows.size(); ++row) EXPECT_EQ(a.rows[row].*member, b.rows[row].*member) << row;
  }
  for (const auto member : {&RowScalars::visible_count, &RowScalars::rises, &RowScalars::rises_any_split}) {
    for (std::size_t row = 0; row < a.rows.size(); ++row) EXPECT_EQ(a.rows[row].*member, b.rows[row].*member) << row;
  }
}

TEST(FastForwardOracle, IsNotChangedByThreads) {
  for (const std::string& line : kLines) {
    const Question asked = question(line);
    const ForwardAnswer alone = fast(asked, 1);
    for (const int threads : {2, 8}) expect_same_bits(alone, fast(asked, threads));
  }
}

TEST(FastForwardOracle, IsNotChangedByMemory) {
  const std::string line = "fwd/fp16/b2.hq4.hkv2.sq57.skv69.dqk8.dv4/causal_top_left/scale0.25/gauss:4/";
  const Question dense = question(line + "bhsd/single");
  const ForwardAnswer want = fast(dense);
  for (const char* memory : {"bshd", "bhsd+gap5", "bshd+gap3+dim2", "bhsd+mixed"}) {
    const Case c = parse_case(line + memory + "/single");
    const auto placed = [&](const Tensor& from, TensorRole role, std::vector<std::byte>& bytes) {
      const StridedLayout layout = lay_out(c.memory, role, from.shape());
      bytes.assign(static_cast<std::size_t>(layout.span) * 2, std::byte{0x7f});  // NaN between the elements
      const TensorView view{bytes.data(), Dtype::kF16, -1, from.shape(), layout.stride};
      copy_elements(from.view(), view);
      return view;
    };
    std::vector<std::byte> q, k, v;
    expect_same_bits(want, fast_attention_forward(dense.problem, placed(dense.inputs.q, TensorRole::kQ, q),
                                                  placed(dense.inputs.k, TensorRole::kK, k),
                                                  placed(dense.inputs.v, TensorRole::kV, v), 2));
  }
}

TEST(FastForwardOracle, CountsTheRisesOfItsScoresAtANearTieNotMuchWider) {
  const std::vector<Question> all = questions();
  for (const std::size_t index : {2, 5, 6, 9, 14, 15, static_cast<int>(all.size()) - 1}) {
    SCOPED_TRACE(index);
    const Question& asked = all[index];
    const Problem& p = asked.problem;
    const ForwardAnswer got = fast(asked), want = plain(asked);
    const Visibility visibility(p);
    for (std::int64_t i = 0; i < p.seqlen_q; ++i) {
      std::vector<double> scores;
      for (std::int64_t j = 0; j < p.seqlen_kv; ++j) {
        if (!visibility.sees(i, j)) continue;
        long double sum = 0;
        for (std::int64_t c = 0; c < p.head_dim_qk; ++c) {
          sum +=
              static_cast<long double>(asked.inputs.q.view().load(0, 0, i, c)) * asked.inputs.k.view().load(0, 0, j, c);
        }
        scores.push_back(static_cast<double>(p.softmax_scale * sum));
      }
      const RowScalars& row = got.statistics.rows[static_cast<std::size_t>(i)];
      // What near_tie is widened by, d_max raised by raise - 1, and a little for the scores kept in single precision.
      const double widened =
          2 * raise_of_row(p, row, got.statistics_roundoff) - 1 + 2.0 / static_cast<double>(p.head_dim_qk + 2);
      const double tie =
          near_tie(p.head_dim_qk, p.softmax_scale, want.statistics.rows[static_cast<std::size_t>(i)].d_max, 0);
      const Rises most = count_rises(scores, tie * widened);
      EXPECT_LE(row.rises, most.monotone) << i;
      EXPECT_LE(row.rises_any_split, most.any_split + kThinnedKeys) << i;
    }
  }
}

TEST(FastForwardOracle, LeavesEmptyRowsAtZeroAndMinusInfinity) {
  const ForwardAnswer got = fast(question(kLines[10]));
  for (std::size_t row = 0; row < 120; ++row) {
    const bool is_empty = row % 60 < 51;
    EXPECT_EQ(std::isinf(got.lse.value[row]) && got.lse.value[row] < 0, is_empty) << row;
    EXPECT_EQ(got.statistics.rows[row].visible_count == 0, is_empty) << row;
    for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(got.out.value[row * 3 + c] == 0, is_empty) << row;
  }
}

TEST(FastForwardOracle, HandsDoublesAndWhatIsNotFiniteToThePlainOne) {
  const std::string rest = "/b1.hq1.hkv1.sq4.skv5.dqk4.dv3/causal_top_left/scale0.5/gauss:4/bhsd/single";
  const Question wide = question("fwd/fp64" + rest);
  expect_same_bits(fast(wide), plain(wide));
  for (const int tensor : {0, 1, 2}) {
    Question asked = question("fwd/fp32" + rest);
    const Tensor& damaged = tensor == 0 ? asked.inputs.q : tensor == 1 ? asked.inputs.k : asked.inputs.v;
    damaged.view().store(0, 0, 2, 1, std::nan(""));
    const ForwardAnswer got = fast(asked), want = plain(asked);
    for (std::size_t row = 0; row < 4; ++row) {
      EXPECT_EQ(std::isnan(got.lse.value[row]), std::isnan(want.lse.value[row])) << tensor << " row " << row;
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(std::isnan(got.out.value[row * 3 + c]), std::isnan(want.out.value[row * 3 + c])) << tensor;
      }
    }
  }
}

// Rows that share a panel with others than in the whole answer: the same sums, cut elsewhere.
TEST(FastForwardOracle, AnswersSomeRowsWithinTheSameError) {
  for (const std::size_t index : {0, 1, 3, 4, 6, 7}) {
    SCOPED_TRACE(kLines[index]);
    const Question asked = question(kLines[index]);
    const ForwardAnswer want = plain(asked);
    std::vector<std::int64_t> rows;
    for (std::int64_t row = 0; row < static_cast<std::int64_t>(want.row_count()); row += 1 + row % 4)
      rows.push_back(row);
    const ForwardAnswer got = fast_attention_forward_of(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(),
                                                        asked.inputs.v.view(), rows, true, 2);
    const ForwardAnswer some = attention_forward_of_rows(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(),
                                                         asked.inputs.v.view(), rows, 2);
    EXPECT_EQ(got.rows, rows);
    const Bounds own = fast_oracle_error(asked.problem, got), other = oracle_error(asked.problem, some);
    EXPECT_LE(used(got.out.value, some.out.value, sums_of(own.out, other.out)), 1);
    EXPECT_LE(used(got.lse.value, some.lse.value, sums_of(own.lse, other.lse)), 1);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      expect_raised_scalars(asked.problem, got.statistics.rows[i], some.statistics.rows[i], got.statistics_roundoff,
                            0x1p30);
      for (std::int64_t c = 0; c < asked.problem.head_dim_v; ++c) {
        const std::size_t at = i * static_cast<std::size_t>(asked.problem.head_dim_v) + static_cast<std::size_t>(c);
        EXPECT_EQ(got.statistics.max_abs_v[at], some.statistics.max_abs_v[at]);
      }
    }
  }
}

TEST(FastForwardOracle, LeavesStatisticsOutWhereAsked) {
  for (const std::string& line : kLines) {
    SCOPED_TRACE(line);
    const Question asked = question(line);
    const ForwardAnswer whole = fast(asked);
    const ForwardAnswer bare = fast_attention_forward_of(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(),
                                                         asked.inputs.v.view(), {}, false, 2);
    EXPECT_EQ(bare.lse.value, whole.lse.value);
    EXPECT_EQ(bare.out.value, whole.out.value);
  }
}

}  // namespace
}  // namespace ringproof

#include "reference/oracle/attention_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "reference/oracle/compensated.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Question {
  Problem problem;
  Inputs inputs;
};

Question question(const std::string& line) {
  const Case c = parse_case(line);
  return {c.problem, make_inputs(c.problem, c.inputs, c.memory)};
}

// A question of one head whose elements are given as functions of (row, column).
using Element = std::function<double(std::int64_t, std::int64_t)>;
Question one_head(Dtype dtype, Mask mask, std::int64_t q, std::int64_t kv, std::int64_t d, std::int64_t dv,
                  double scale, const Element& of_q, const Element& of_k, const Element& of_v) {
  const Problem problem{dtype, mask, 1, 1, 1, q, kv, d, dv, scale};
  Question asked{problem, {{dtype, problem.shape_q()}, {dtype, problem.shape_k()}, {dtype, problem.shape_v()}}};
  const auto fill = [](const Tensor& tensor, const Element& element) {
    for (std::int64_t s = 0; s < tensor.shape()[2]; ++s) {
      for (std::int64_t c = 0; c < tensor.shape()[3]; ++c) tensor.view().store(0, 0, s, c, element(s, c));
    }
  };
  fill(asked.inputs.q, of_q);
  fill(asked.inputs.k, of_k);
  fill(asked.inputs.v, of_v);
  return asked;
}

ForwardAnswer answer(const Question& asked, int threads = 1) {
  return attention_forward(asked.problem, asked.inputs.q.view(), asked.inputs.k.view(), asked.inputs.v.view(), threads);
}

double nothing(std::int64_t, std::int64_t) { return 0; }

std::vector<double> flat(const RowScalars& r) {
  return {static_cast<double>(r.visible_count),
          r.score_max,
          r.lse,
          r.p_max,
          r.sum_p_squared,
          r.mean_d,
          r.mean_d_squared,
          r.d_max,
          r.abs_sum_max,
          r.mean_gap,
          r.mean_gap_squared,
          r.gap_max,
          static_cast<double>(r.rises),
          static_cast<double>(r.rises_any_split)};
}

void expect_same_bits(const ForwardAnswer& one, const ForwardAnswer& other) {
  EXPECT_EQ(one.out.value, other.out.value);
  EXPECT_EQ(one.out.tail, other.out.tail);
  EXPECT_EQ(one.lse.value, other.lse.value);
  EXPECT_EQ(one.lse.tail, other.lse.tail);
  const RowStatistics &a = one.statistics, &b = other.statistics;
  for (const auto member : {&RowStatistics::p_abs_v, &RowStatistics::p_variance, &RowStatistics::p2_v2,
                            &RowStatistics::p2_v, &RowStatistics::sum_abs_v, &RowStatistics::max_abs_v}) {
    EXPECT_EQ(a.*member, b.*member);
  }
  ASSERT_EQ(a.rows.size(), b.rows.size());
  for (std::size_t row = 0; row < a.rows.size(); ++row) EXPECT_EQ(flat(a.rows[row]), flat(b.rows[row])) << row;
}

template <class Real>
Real sum_of(const std::vector<Real>& terms) {
  Real sum = 0, tail = 0;
  for (const Real term : terms) add_compensated(sum, tail, term);
  return compensated_value(sum, tail);
}

TEST(CompensatedSum, LosesNothingToLargeTermsThatCancel) {
  EXPECT_EQ(sum_of<double>({1, 0x1p60, 0x1p-40, -0x1p60}), 1 + 0x1p-40);
  EXPECT_EQ(sum_of<long double>({1, 0x1p80L, 0x1p-40L, -0x1p80L}), 1 + 0x1p-40L);
  EXPECT_EQ(sum_of<double>(std::vector<double>(10, 0.1)), 1);
}

TEST(CompensatedSum, KeepsInfinityAndNaN) {
  EXPECT_EQ(sum_of<double>({1, kInfinity, 2}), kInfinity);
  EXPECT_EQ(sum_of<double>({-1, -kInfinity}), -kInfinity);
  EXPECT_TRUE(std::isnan(sum_of<double>({1, kInfinity, -kInfinity})));
  EXPECT_TRUE(std::isnan(sum_of<double>({1, std::nan("")})));
}

TEST(ForwardOracle, GivesTheMeanOfVisibleIntegersWhenScoresAreEqual) {
  for (const char* mask : {"full", "causal_top_left", "causal_bottom_right", "window(2,1)", "window(0,0)"}) {
    const Case c =
        parse_case(std::string("fwd/fp32/b1.hq1.hkv1.sq6.skv9.dqk4.dv3/") + mask + "/scale0.5/gauss:0/bhsd/single");
    const Element v = [](std::int64_t j, std::int64_t column) { return static_cast<double>(7 * j * j + column - 20); };
    const Question asked = one_head(
        Dtype::kF32, c.problem.mask, 6, 9, 4, 3, 0.5, nothing,
        [](std::int64_t j, std::int64_t) { return static_cast<double>(j); }, v);
    const ForwardAnswer got = answer(asked);
    for (std::int64_t i = 0; i < 6; ++i) {
      const KeyRange seen = visible_keys(band_of(c.problem.mask, 6, 9), i, 9);
      const auto n = static_cast<double>(seen.count());
      EXPECT_EQ(got.lse.value[static_cast<std::size_t>(i)], std::log(n)) << mask;
      for (std::int64_t column = 0; column < 3; ++column) {
        double sum = 0;
        for (std::int64_t j = seen.begin; j < seen.end; ++j) sum += v(j, column);
        EXPECT_EQ(got.out.value[static_cast<std::size_t>(i * 3 + column)], sum / n) << mask << " row " << i;
      }
    }
  }
}

// Key j of the scores 0 and -1000: exp(-1000) is 0 in a double, so the first kind shares all the weight.
TEST(ForwardOracle, GivesTheMeanOfTheKeysThatHoldAllTheWeight) {
  const Question asked = one_head(
      Dtype::kBf16, {MaskKind::kFull}, 1, 8, 2, 1, 0.5, [](auto, auto) { return 1.0; },
      [](std::int64_t j, std::int64_t) { return j % 4 == 0 ? 64.0 : -936.0; },
      [](std::int64_t j, std::int64_t) { return static_cast<double>(j + 1); });
  const ForwardAnswer got = answer(asked);
  EXPECT_EQ(got.out.value[0], 3);
  EXPECT_EQ(got.lse.value[0], 64 + std::log(2.0));
  const RowScalars& row = got.statistics.rows[0];
  EXPECT_EQ(flat(row), (std::vector<double>{8, 64, 64 + std::log(2.0), 0.5, 0.5, 128, 16384, 1872, 2 + 1872, 0, 0, 1000,
                                            static_cast<double>(row.rises), static_cast<double>(row.rises_any_split)}));
}

TEST(ForwardOracle, GivesTheValueOfASingleKeyAndItsScore) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    const Question asked = one_head(
        dtype, {MaskKind::kCausalTopLeft}, 1, 3, 2, 2, -0.5,
        [](auto, std::int64_t c) { return 3.0 + static_cast<double>(c); },
        [](auto, std::int64_t c) { return c == 0 ? 2.0 : -8.0; },
        [](std::int64_t j, std::int64_t c) { return 0.375 * static_cast<double>(1 + j + 2 * c); });
    const ForwardAnswer got = answer(asked);
    EXPECT_EQ(got.out.value, (std::vector<double>{0.375, 1.125}));
    EXPECT_EQ(got.lse.value, (std::vector<double>{13.0}));
  }
}

TEST(ForwardOracle, LeavesEmptyRowsAtZeroAndMinusInfinity) {
  const ForwardAnswer got =
      answer(question("fwd/fp32/b1.hq2.hkv1.sq9.skv4.dqk8.dv3/causal_bottom_right/scale0.5/gauss:4/bhsd/single"));
  for (std::size_t row = 0; row < 18; ++row) {
    const bool empty = row % 9 < 5;
    EXPECT_EQ(got.lse.value[row] == -kInfinity, empty) << row;
    EXPECT_EQ(got.statistics.rows[row].visible_count == 0, empty) << row;
    for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(got.out.value[row * 3 + c] == 0, empty) << row;
  }
  const ForwardAnswer no_keys =
      answer(question("fwd/fp64/b1.hq1.hkv1.sq2.skv0.dqk4.dv1/full/scale1/gauss:4/bhsd/single"));
  EXPECT_EQ(no_keys.lse.value, (std::vector<double>{-kInfinity, -kInfinity}));
  EXPECT_EQ(no_keys.out.value, (std::vector<double>{0, 0}));
  EXPECT_TRUE(
      answer(question("fwd/fp32/b1.hq1.hkv1.sq0.skv2.dqk4.dv1/full/scale1/gauss:4/bhsd/single")).out.value.empty());
}

// A row that sees some keys must get, bit for bit, what it gets where only these keys exist.
TEST(ForwardOracle, GivesRowsWithHolesAndDocumentsWhatTheirKeysAloneGive) {
  for (const char* rest : {"fp32/b1.hq1.hkv1.sq9.skv23.dqk6.dv3/block_sparse(2x3,keep0.5:4)/scale0.5/gauss:1",
                           "fp64/b1.hq1.hkv1.sq7.skv19.dqk6.dv3/block_sparse(1x1,keep0.6:2)/scale0.5/peaked:2",
                           "bf16/b1.hq1.hkv1.sq9.skv23.dqk6.dv3/document(2+0+5,9+3+8)/scale0.5/sink:3",
                           "fp16/b1.hq1.hkv1.sq9.skv23.dqk6.dv3/document(6+2,4+17)+causal/scale0.5/gauss:4"}) {
    SCOPED_TRACE(rest);
    const Question asked = question(std::string("fwd/") + rest + "/bhsd/single");
    const Problem& p = asked.problem;
    const ForwardAnswer got = answer(asked);
    const Visibility visibility(p);
    std::int64_t rows_with_keys = 0;
    for (std::int64_t i = 0; i < p.seqlen_q; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const std::vector<KeyRange> seen = visibility.ranges(i);
      ASSERT_EQ(got.statistics.rows[row].visible_count, visibility.count(i));
      if (seen.empty()) {
        EXPECT_EQ(got.lse.value[row], -kInfinity);
        for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(got.out.value[row * 3 + c], 0);
        continue;
      }
      ++rows_with_keys;
      EXPECT_EQ(got.statistics.rows[row].visible_ranges, static_cast<std::int64_t>(seen.size()));
      std::vector<std::int64_t> keys;
      for (const KeyRange& range : seen) {
        for (std::int64_t key = range.begin; key < range.end; ++key) keys.push_back(key);
      }
      const auto element_of = [&](const Tensor& tensor) {
        return [&](std::int64_t j, std::int64_t c) {
          return tensor.view().load(0, 0, keys[static_cast<std::size_t>(j)], c);
        };
      };
      const Question alone = one_head(
          p.dtype, {MaskKind::kFull}, 1, visibility.count(i), 6, 3, p.softmax_scale,
          [&](auto, std::int64_t c) { return asked.inputs.q.view().load(0, 0, i, c); }, element_of(asked.inputs.k),
          element_of(asked.inputs.v));
      const ForwardAnswer want = answer(alone);
      EXPECT_EQ(flat(got.statistics.rows[row]), flat(want.statistics.rows[0])) << i;
      EXPECT_EQ(got.lse.value[row], want.lse.value[0]) << i;
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(got.out.value[row * 3 + c], want.out.value[c]) << i;
        EXPECT_EQ(got.statistics.p_variance[row * 3 + c], want.statistics.p_variance[c]) << i;
        EXPECT_EQ(got.statistics.sum_abs_v[row * 3 + c], want.statistics.sum_abs_v[c]) << i;
      }
    }
    EXPECT_GT(rows_with_keys, 4);
  }
}

TEST(ForwardOracle, CountsRisesOfAShardOverTheKeysARowSees) {
  // Keys 3 4 5 9 10 11 12 13 14 are visible, their scores ascend; the stripes hold 4 10 12 14 and 3 5 9 11 13.
  Question asked = one_head(
      Dtype::kF32, {MaskKind::kBlockSparse}, 1, 15, 1, 1, 1, [](auto, auto) { return 1.0; },
      [](std::int64_t j, std::int64_t) { return static_cast<double>(j); }, nothing);
  Mask& mask = asked.problem.mask;
  mask.block_q = 1, mask.block_kv = 3, mask.block_share_kept = 0.5;
  while (block_flags(mask, 1, 15) != std::vector<std::uint8_t>{0, 1, 0, 1, 1}) ++mask.block_seed;
  EXPECT_EQ(answer(asked).statistics.rows[0].rises, 8);
  asked.problem.topology = {Schedule::kStriped, 2};
  EXPECT_EQ(answer(asked).statistics.rows[0].rises, 4);
  asked.problem.topology = {Schedule::kContiguous, 2};
  EXPECT_EQ(answer(asked).statistics.rows[0].rises, 5);  // of 9 to 14
}

TEST(ForwardOracle, KeepsInTailsWhatADoubleCannotHold) {
  const Question asked = one_head(Dtype::kF64, {MaskKind::kFull}, 1, 3, 1, 1, 1, nothing, nothing,
                                  [](std::int64_t j, std::int64_t) { return j == 0 ? 1.0 : 0.0; });
  const ForwardAnswer got = answer(asked);
  const long double out = static_cast<long double>(got.out.value[0]) + got.out.tail_at(0);
  const long double lse = static_cast<long double>(got.lse.value[0]) + got.lse.tail_at(0);
  EXPECT_EQ(out, 1 / 3.0L);
  const volatile long double three = 3;  // the library's logarithm, not the compiler's
  EXPECT_EQ(lse, std::log(three));
  EXPECT_EQ(got.unit_roundoff, static_cast<double>(std::numeric_limits<long double>::epsilon() / 2));
  EXPECT_EQ(got.out.tail_at(0) != 0, std::numeric_limits<long double>::digits > 53);
  const ForwardAnswer narrow =
      answer(question("fwd/fp32/b1.hq1.hkv1.sq2.skv3.dqk4.dv1/full/scale1/gauss:4/bhsd/single"));
  EXPECT_TRUE(narrow.out.tail.empty());
  EXPECT_EQ(narrow.unit_roundoff, 0x1p-53);
}

// With 2^k keys of equal score every weight is 2^-k, and integers make every statistic exact.
TEST(ForwardOracle, CountsStatisticsExactlyWhereNumbersAllowIt) {
  const Element k = [](std::int64_t j, std::int64_t) { return static_cast<double>(j + 1); };
  const Element v = [](std::int64_t j, std::int64_t c) { return c == 0 ? static_cast<double>(j) - 2 : -3.0; };
  const Question asked = one_head(
      Dtype::kF32, {MaskKind::kFull}, 1, 8, 2, 2, 0.25, [](auto, std::int64_t c) { return c == 0 ? 1.0 : -1.0; }, k, v);
  const ForwardAnswer got = answer(asked);
  const RowStatistics& s = got.statistics;
  // S = 0, D_j = 2 (j + 1), |q| = 2.
  const double rises = 7;  // every score is equal, and D is not 0
  EXPECT_EQ(flat(s.rows[0]),
            (std::vector<double>{8, 0, std::log(8.0), 0.125, 0.125, 9, 102, 16, 18, 0, 0, 0, rises, rises}));
  EXPECT_EQ(s.p_abs_v, (std::vector<double>{18 / 8.0, 3}));
  EXPECT_EQ(s.p_variance, (std::vector<double>{60 / 8.0 - 1.5 * 1.5, 0}));
  EXPECT_EQ(s.p2_v2, (std::vector<double>{60 / 64.0, 72 / 64.0}));
  EXPECT_EQ(s.p2_v, (std::vector<double>{12 / 64.0, -24 / 64.0}));
  EXPECT_EQ(s.sum_abs_v, (std::vector<double>{18, 24}));
  EXPECT_EQ(s.max_abs_v, (std::vector<double>{5, 3}));
}

// S_j = key j: ascending over the sequence.
std::int64_t rises_under(Topology topology, const Element& score) {
  Question asked = one_head(
      Dtype::kF32, {MaskKind::kFull}, 1, 16, 1, 1, 1, [](auto, auto) { return 1.0; }, score, nothing);
  asked.problem.topology = topology;
  return answer(asked).statistics.rows[0].rises;
}

TEST(ForwardOracle, CountsRisesWithinShardsAndWithinTheirRuns) {
  const Element ascending = [](std::int64_t j, std::int64_t) { return static_cast<double>(j); };
  EXPECT_EQ(rises_under({Schedule::kSingle}, ascending), 15);
  EXPECT_EQ(rises_under({Schedule::kContiguous, 4}, ascending), 3);
  EXPECT_EQ(rises_under({Schedule::kStriped, 2}, ascending), 7);
  EXPECT_EQ(rises_under({Schedule::kZigzag, 4}, ascending), 3);
  // The shard of rank 0 is 100 1 2 3 10 20 30 40: one rise in either order, but three in its second run alone.
  const Element hidden = [](std::int64_t j, std::int64_t) {
    constexpr double kScores[]{100, 1, 2, 3, 50, 10, 40, 20, 30, 15, 45, 12, 10, 20, 30, 40};
    return kScores[j];
  };
  EXPECT_EQ(rises_under({Schedule::kZigzag, 2}, hidden), 3);
}

TEST(ForwardOracle, IsNotChangedByThreads) {
  for (const char* line :
       {"fwd/bf16/b2.hq4.hkv2.sq37.skv53.dqk16.dv8/causal_bottom_right/scale0.25/peaked:4/bhsd/zigzag3",
        "fwd/fp64/b1.hq2.hkv1.sq19.skv21.dqk8.dv8/window(5,2)/scale0.35/gauss:4/bhsd/single"}) {
    const Question asked = question(line);
    const ForwardAnswer alone = answer(asked, 1);
    for (const int threads : {2, 3, 8}) expect_same_bits(alone, answer(asked, threads));
  }
}

TEST(ForwardOracle, IsNotChangedByMemory) {
  const std::string line = "fwd/fp16/b2.hq4.hkv2.sq7.skv9.dqk8.dv4/causal_top_left/scale0.25/gauss:4/";
  const Question dense = question(line + "bhsd/single");
  const ForwardAnswer want = answer(dense);
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
    expect_same_bits(want, attention_forward(dense.problem, placed(dense.inputs.q, TensorRole::kQ, q),
                                             placed(dense.inputs.k, TensorRole::kK, k),
                                             placed(dense.inputs.v, TensorRole::kV, v), 2));
  }
}

TEST(ForwardOracle, GivesGroupedHeadsWhatRepeatedHeadsGet) {
  const Question grouped = question("fwd/fp32/b2.hq6.hkv2.sq5.skv7.dqk8.dv4/full/scale0.35/gauss:8/bhsd/single");
  Question repeated = grouped;
  repeated.problem.heads_kv = 6;
  const auto repeat = [&](const Tensor& from, const Shape& shape) {
    Tensor to(Dtype::kF32, shape);
    for (std::int64_t b = 0; b < shape[0]; ++b) {
      for (std::int64_t h = 0; h < shape[1]; ++h) {
        for (std::int64_t s = 0; s < shape[2]; ++s) {
          for (std::int64_t c = 0; c < shape[3]; ++c) to.view().store(b, h, s, c, from.view().load(b, h / 3, s, c));
        }
      }
    }
    return to;
  };
  repeated.inputs.k = repeat(grouped.inputs.k, repeated.problem.shape_k());
  repeated.inputs.v = repeat(grouped.inputs.v, repeated.problem.shape_v());
  expect_same_bits(answer(grouped), answer(repeated));
}

// Rows 0..3 of a top-left causal mask; key 2 is damaged, so rows 2 and 3 see it.
TEST(ForwardOracle, LetsANanReachExactlyTheRowsThatSeeIt) {
  const std::string line = "fwd/fp32/b1.hq1.hkv1.sq4.skv5.dqk4.dv3/causal_top_left/scale0.5/gauss:4/bhsd/single";
  const ForwardAnswer clean = answer(question(line));
  const double nan = std::nan("");
  Question in_k = question(line), in_v = question(line), in_q = question(line);
  in_k.inputs.k.view().store(0, 0, 2, 1, nan);
  in_v.inputs.v.view().store(0, 0, 2, 1, nan);
  in_q.inputs.q.view().store(0, 0, 2, 1, nan);
  const ForwardAnswer by_k = answer(in_k), by_v = answer(in_v), by_q = answer(in_q);
  for (std::size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(std::isnan(by_k.lse.value[row]), row >= 2);
    EXPECT_EQ(std::isnan(by_q.lse.value[row]), row == 2);
    EXPECT_EQ(by_v.lse.value[row], clean.lse.value[row]);
    for (std::size_t c = 0; c < 3; ++c) {
      const std::size_t at = row * 3 + c;
      EXPECT_EQ(std::isnan(by_k.out.value[at]), row >= 2);
      EXPECT_EQ(std::isnan(by_q.out.value[at]), row == 2);
      EXPECT_EQ(std::isnan(by_v.out.value[at]), row >= 2 && c == 1);
      if (row < 2) {
        EXPECT_EQ(by_k.out.value[at], clean.out.value[at]);
      }
      if (row < 2 || c != 1) {
        EXPECT_EQ(by_v.out.value[at], clean.out.value[at]);
      }
    }
  }
}

TEST(AttentionForwardOfRows, IsTheWholeAnswerBitForBit) {
  for (const char* dtype : {"fp32", "fp64"}) {
    const Question asked =
        question(std::string("fwd/") + dtype +
                 "/b2.hq4.hkv2.sq23.skv19.dqk8.dv3/causal_bottom_right/scale0.35/gauss:7/bhsd/single");
    const std::vector<std::int64_t> rows{0, 5, 22, 23, 68, 69, 100, 160, 183};
    const TensorView q = asked.inputs.q.view(), k = asked.inputs.k.view(), v = asked.inputs.v.view();
    const ForwardAnswer whole = answer(asked), some = attention_forward_of_rows(asked.problem, q, k, v, rows, 2);
    ASSERT_EQ(some.row_count(), rows.size());
    ASSERT_EQ(some.out.value.size(), rows.size() * 3);
    EXPECT_EQ(some.unit_roundoff, whole.unit_roundoff);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      EXPECT_EQ(some.row_at(i), rows[i]);
      EXPECT_EQ(whole.row_at(row), rows[i]);
      EXPECT_EQ(some.lse.value[i], whole.lse.value[row]);
      EXPECT_EQ(some.lse.tail_at(i), whole.lse.tail_at(row));
      EXPECT_EQ(flat(some.statistics.rows[i]), flat(whole.statistics.rows[row]));
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(some.out.value[3 * i + c], whole.out.value[3 * row + c]);
        EXPECT_EQ(some.out.tail_at(3 * i + c), whole.out.tail_at(3 * row + c));
        EXPECT_EQ(some.statistics.p_variance[3 * i + c], whole.statistics.p_variance[3 * row + c]);
        EXPECT_EQ(some.statistics.sum_abs_v[3 * i + c], whole.statistics.sum_abs_v[3 * row + c]);
      }
    }
  }
}

}  // namespace
}  // namespace ringproof

#include "reference/judge/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/plain_kernel_test.h"
#include "reference/judge/reference.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

Case case_of(const std::string& line) { return parse_case(line); }

const std::string kLong = "fwd/fp32/b2.hq2.hkv1.sq700.skv300.dqk8.dv4/causal_bottom_right/scale0.35/gauss:";

TEST(Sampling, DrawsARowInEveryStratum) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    const Case c = case_of(kLong + std::to_string(seed) + "/bhsd/single");
    for (const std::int64_t count : {1, 7, 8, 100, 2800}) {
      const RowSample sample = sample_rows(c, count);
      EXPECT_LE(static_cast<std::int64_t>(sample.rows.size()), count);
      EXPECT_GE(sample.rows_drawn, count - count / 8);
      for (std::int64_t s = 0; s < sample.rows_drawn; ++s) {
        const double width = 2800.0 / static_cast<double>(sample.rows_drawn);
        const auto from = static_cast<std::int64_t>(std::floor(static_cast<double>(s) * width));
        const auto at = std::lower_bound(sample.rows.begin(), sample.rows.end(), from);
        ASSERT_NE(at, sample.rows.end());
        EXPECT_LT(static_cast<double>(*at), static_cast<double>(s + 1) * width);
      }
    }
  }
}

TEST(Sampling, IsAFunctionOfTheCaseAndOfItsSeed) {
  const Case one = case_of(kLong + "1/bhsd/single"), other = case_of(kLong + "2/bhsd/single");
  EXPECT_EQ(sample_rows(one, 100).rows, sample_rows(one, 100).rows);
  EXPECT_NE(sample_rows(one, 100).rows, sample_rows(other, 100).rows);
}

TEST(Sampling, LooksAtTheEdgesOfHeadsTilesShardsAndMasks) {
  const std::string head = "fwd/fp32/b1.hq1.hkv1.sq1000.skv1000.dqk8.dv4/", tail = "/scale0.35/gauss:3/bhsd/";
  const auto rows_of = [&](const std::string& mask, const std::string& topology) {
    const RowSample sample = sample_rows(case_of(head + mask + tail + topology), 400);
    return std::set<std::int64_t>(sample.rows.begin(), sample.rows.end());
  };
  // A budget of 50 edges holds all of them.
  for (const std::int64_t row : {0, 63, 64, 127, 128, 895, 896, 959, 960, 999}) {
    EXPECT_TRUE(rows_of("full", "single").contains(row)) << row;
  }
  for (const std::int64_t row : {0, 249, 250, 499, 500, 749, 750, 999}) {
    EXPECT_TRUE(rows_of("full", "contiguous4").contains(row)) << row;
  }
  for (const std::int64_t row : {300, 301, 984, 985}) {  // where the window leaves key 0, where it reaches the last
    EXPECT_TRUE(rows_of("window(300,15)", "single").contains(row)) << row;
  }
}

TEST(Sampling, SaysTheProbabilityOfMeetingADefect) {
  EXPECT_EQ(detection_probability(1, 5), 1);
  EXPECT_EQ(detection_probability(0, 5), 0);
  EXPECT_EQ(detection_probability(0.5, 1), 0.5);
  EXPECT_EQ(sampling_sentence({256, 1048576, 256}),
            "256 of 1,048,576 rows sampled: a defect in 1 % of rows is seen with probability 0.92; "
            "of the others lse is held to its range, and O searched for NaN");
  EXPECT_EQ(sampling_sentence({10, 1000, 1}),
            "10 of 1,000 rows sampled: a defect in 1 % of rows is seen with probability 0.01; of the others "
            "lse is held to its range, and O searched for NaN");
  EXPECT_EQ(sampling_sentence({1000, 1000, 0}), "");
}

TEST(Sampling, CountsTheWorkOfEveryMaskAsItsRowsSeeIt) {
  for (const char* mask : {"full", "causal_top_left", "causal_bottom_right", "window(20,3)", "window(0,0)",
                           "window(-1,5)", "window(7,-1)", "window(500,0)", "document(30+0+5+20,10+20+0+30)",
                           "document(30+0+5+20,10+20+0+30)+causal", "block_sparse(16x32,keep0.3:1)"}) {
    for (const char* lengths : {"sq70.skv90", "sq90.skv70", "sq80.skv80", "sq60.skv200", "sq200.skv60"}) {
      const Case c = case_of("fwd/fp32/b2.hq2.hkv1." + std::string(lengths) + ".dqk8.dv4/" + mask +
                             "/scale0.35/gauss:1/bhsd/single");
      const Visibility visibility(c.problem);
      double pairs = 0;
      for (std::int64_t row = 0; row < c.problem.seqlen_q; ++row) pairs += static_cast<double>(visibility.count(row));
      EXPECT_EQ(reference_work_flop(c.problem), 2 * 12 * 4 * pairs) << mask << " " << lengths;
    }
  }
}

TEST(Sampling, CountsTheMemoryOfTheRowsItTakes) {
  const Case million = case_of(
      "fwd/bf16/b1.hq1.hkv1.sq1048576.skv1048576.dqk128.dv128/causal_bottom_right/scale0.088/gauss:1/bhsd/single");
  const SamplingRule rule{4e12, 256};
  const std::uint64_t sampled = memory_bytes_needed(million, 256), all = memory_bytes_needed(million);
  EXPECT_GE(all - sampled, std::uint64_t{1048576 - 256} * 128 * 80);  // want, its bounds and statistics
  EXPECT_NO_THROW(require_judgeable(million, rule, sampled));
  EXPECT_THROW(require_judgeable(million, rule, sampled - 1), InputError);
  EXPECT_THROW(require_judgeable(million, all_rows(), all - 1), InputError);
  const Case small = case_of(kLong + "1/bhsd/single");  // costs too little to be sampled
  EXPECT_THROW(require_judgeable(small, rule, memory_bytes_needed(small) - 1), InputError);
  // Refused for its table of tiles before anything is counted in it.
  const Case tiles = case_of(
      "fwd/bf16/b1.hq1.hkv1.sq1048576.skv1048576.dqk8.dv8/block_sparse(1x1,keep0.5:1)/scale0.35/gauss:1/bhsd/single");
  EXPECT_THROW(require_judgeable(tiles, rule, std::uint64_t{1} << 36), InputError);
}

// A defect of 10 rows in a row, wherever it lies, is met wherever a stratum is no wider than 5.
TEST(Sampling, CannotMissARunOfRowsThatHoldsAStratum) {
  const RowSample sample = sample_rows(case_of(kLong + "9/bhsd/single"), 641);
  ASSERT_LE(2800.0 / static_cast<double>(sample.rows_drawn), 5);
  for (std::int64_t from = 0; from + 10 <= 2800; ++from) {
    const auto at = std::lower_bound(sample.rows.begin(), sample.rows.end(), from);
    ASSERT_TRUE(at != sample.rows.end() && *at < from + 10) << from;
  }
}

TEST(Sampling, IsWantedAboveTheWorkLimitAlone) {
  const Case c = case_of("fwd/fp32/b2.hq4.hkv2.sq10.skv20.dqk8.dv4/full/scale0.35/gauss:3/bhsd/single");
  EXPECT_EQ(reference_work_flop(c.problem), 2.0 * 12 * 200 * 8);
  EXPECT_FALSE(wants_sampling(c, {2.0 * 12 * 200 * 8, 4}));
  EXPECT_TRUE(wants_sampling(c, {2.0 * 12 * 200 * 8 - 1, 4}));
  EXPECT_FALSE(wants_sampling(c, {1, 80})) << "there are no more rows than that";
  EXPECT_FALSE(wants_sampling(c, all_rows()));
}

// The rows of a sample, against the same rows of the whole answer; then a fault in one row of each kind.
TEST(Sampling, JudgesItsRowsAsTheWholeReferenceDoes) {
  const Case c = case_of(kLong + "5/bhsd/single");
  const Reference whole = prepare(c, 1), sample = prepare(c, {1, 90}, 2);
  ASSERT_EQ(sample.rows_judged().total, 2800);
  ASSERT_EQ(sample.want.row_count(), sample.want.rows.size());
  Got got{CallStatus::kReturned, "", Tensor(Dtype::kF32, c.problem.shape_out()),
          Tensor(Dtype::kF32, c.problem.shape_lse()), true};
  for (std::int64_t row = 0; row < 2800; ++row) {
    const auto from = static_cast<std::size_t>(row);
    got.lse.view().store(row / 1400, row / 700 % 2, row % 700, 0, whole.want.lse.value[from]);
    for (std::int64_t column = 0; column < 4; ++column) {
      got.out.view().store(row / 1400, row / 700 % 2, row % 700, column,
                           whole.want.out.value[4 * from + static_cast<std::size_t>(column)]);
    }
  }
  const Arithmetic arithmetic = resolve({}, Dtype::kF32);
  const Evidence clean = compare("it", sample, arithmetic, got);
  EXPECT_EQ(verify_case(clean).outcome, Outcome::kAccepted);
  EXPECT_EQ(clean.tensors[0].count, static_cast<std::int64_t>(4 * sample.want.rows.size()));
  EXPECT_LE(clean.tensors[0].bound_used, compare("it", whole, arithmetic, got).tensors[0].bound_used);
  std::int64_t row = 0;
  for (const std::int64_t one : sample.want.rows) {
    if (one % 700 >= 400) row = one;  // rows before see nothing
  }
  got.out.view().store(row / 1400, row / 700 % 2, row % 700, 2, 77);
  const Evidence faulty = compare("it", sample, arithmetic, got);
  EXPECT_EQ(verify_case(faulty).outcome, Outcome::kRejected);
  EXPECT_EQ(faulty.tensors[0].worst_index, (std::array<std::int64_t, 4>{row / 1400, row / 700 % 2, row % 700, 2}));
  EXPECT_EQ(faulty.tensors[0].want, whole.want.out.value[static_cast<std::size_t>(4 * row + 2)]);
}

// NaN in a row of the sample is outside its bound; anywhere else it is a fault of structure, unless nothing is seen.
TEST(Sampling, LooksForNaNInEveryRowThatSeesSomething) {
  const Case c = case_of(kLong + "5/bhsd/single");
  const Reference sample = prepare(c, {1, 90}, 1);
  const PlainKernel exact{[](double x) { return x; }, [](double x) { return x; }};
  Reference whole = prepare(c, 1);
  const Got clean = run_plain(exact, whole);
  const Arithmetic arithmetic = resolve({}, Dtype::kF32);
  EXPECT_TRUE(compare("it", sample, arithmetic, clean).structure_faults.empty());
  const std::set<std::int64_t> judged(sample.want.rows.begin(), sample.want.rows.end());
  std::int64_t row = 2799;
  while (judged.contains(row)) --row;
  for (const bool in_lse : {false, true}) {
    Got got = clean;
    got.out = Tensor(clean.out), got.lse = Tensor(clean.lse);
    (in_lse ? got.lse : got.out).view().store(1, 1, row % 700, 0, std::nan(""));
    const Evidence evidence = compare("it", sample, arithmetic, got);
    ASSERT_EQ(evidence.structure_faults.size(), 1u);
    EXPECT_NE(evidence.structure_faults[0].find("1 rows outside the sample hold a NaN"), std::string::npos);
    EXPECT_NE(evidence.structure_faults[0].find("(batch 1, head 1, row " + std::to_string(row % 700) + ")"),
              std::string::npos);
    EXPECT_EQ(verify_case(evidence).outcome, Outcome::kRejected);
    EXPECT_TRUE(compare("it", whole, arithmetic, got).structure_faults.empty()) << "there it is outside its bound";
    Reference with_infinity = sample;
    with_infinity.inputs.q.view().store(0, 0, 0, 0, std::numeric_limits<double>::infinity());
    EXPECT_TRUE(compare("it", with_infinity, arithmetic, got).structure_faults.empty());
    got.rows_spoiled.assign(2800, false);
    got.rows_spoiled[static_cast<std::size_t>(row)] = true;
    EXPECT_TRUE(compare("it", sample, arithmetic, got).structure_faults.empty());
  }
}

TEST(Sampling, LeavesNaNOfSpecialInputsToTheRowsItHolds) {
  const Case c = case_of("fwd/fp32/b2.hq2.hkv1.sq700.skv300.dqk8.dv4/full/scale0.35/special:5/bhsd/single");
  const Reference sample = prepare(c, {1, 90}, 1);
  Got got{CallStatus::kReturned, "", Tensor(Dtype::kF32, c.problem.shape_out()),
          Tensor(Dtype::kF32, c.problem.shape_lse()), true};
  std::int64_t row = 2799;
  while (std::binary_search(sample.want.rows.begin(), sample.want.rows.end(), row)) --row;
  got.out.view().store(1, 1, row % 700, 0, std::nan(""));
  EXPECT_TRUE(compare("it", sample, resolve({}, Dtype::kF32), got).structure_faults.empty());
}

// Checks 4 and 5 read the candidate's element at the row's own place, not at its place in the sample.
TEST(Sampling, FormsNoiseAndBiasOfItsOwnRows) {
  const Case c = case_of("fwd/bf16/b2.hq2.hkv1.sq400.skv100.dqk8.dv16/full/scale0.35/gauss:5/bhsd/single");
  const Reference whole = prepare(c, 1), sample = prepare(c, {1, 800}, 1);
  ASSERT_LT(sample.want.row_count(), whole.want.row_count());
  const Got got = run_plain(correct_kernel(Dtype::kBf16), whole);
  const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
  const Limits of_whole = limits_of(whole, arithmetic, 2), of_sample = limits_of(sample, arithmetic, 2);
  std::vector<std::size_t> rows, rows_in_whole;
  for (const std::size_t row : of_sample.rows_apart) {
    rows.push_back(row);
    rows_in_whole.push_back(static_cast<std::size_t>(sample.want.row_at(row)));
  }
  const NoiseEvidence noise = noise_of(sample, of_sample, got.out, rows);
  const NoiseEvidence same_noise = noise_of(whole, of_whole, got.out, rows_in_whole);
  EXPECT_GT(noise.all_heads.rows, 0);
  EXPECT_EQ(noise.all_heads.sum, same_noise.all_heads.sum);
  EXPECT_EQ(noise.worst_index, same_noise.worst_index);
  const BiasEvidence bias = bias_of(sample, of_sample, got.out, rows);
  EXPECT_EQ(bias.sums.n, bias_of(whole, of_whole, got.out, rows_in_whole).sums.n);
  EXPECT_EQ(verify_case(compare("it", sample, arithmetic, got)).outcome, Outcome::kAccepted);
}

TEST(Sampling, StandsInTheScopeOfTheVerdict) {
  const Case c = case_of(kLong + "5/bhsd/single");
  Evidence sampled{"it", to_string(c), Dtype::kF32, MaskKind::kFull, 8, CallStatus::kReturned};
  sampled.rows = {300, 2800, 256};
  Evidence lesser = sampled, whole = sampled;
  lesser.rows = {100, 2800, 90};
  whole.rows = {2800, 2800, 0};
  EXPECT_EQ(verify(std::vector{whole}, "").scope, "fp32 full, d <= 8");
  EXPECT_EQ(verify(std::vector{sampled, lesser, whole}, "").scope,
            "fp32 full, d <= 8, 100 of 2,800 rows sampled: a defect in 1 % of rows is seen with probability 0.59; "
            "of the others lse is held to its range, and O searched for NaN");
}

}  // namespace
}  // namespace ringproof

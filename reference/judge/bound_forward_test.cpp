#include "reference/judge/bound_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "reference/judge/bound_oracle.h"
#include "reference/judge/bound_walsh.h"
#include "reference/judge/gamma.h"
#include "reference/judge/simulated_kernel_test.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Reference reference_of(const std::string& line) { return prepare(parse_case(line), 1); }

Bounds bounds_of(const Reference& reference, const Arithmetic& declared) {
  return bound_forward(reference.c, resolve(declared, reference.c.problem.dtype), reference.want);
}

// Error over bound of the worst element; an error beyond its bound is a failure.
double worst_of(const std::string& what, const std::vector<double>& got, const WideValues& want,
                const std::vector<double>& bound) {
  double worst = 0;
  for (std::size_t at = 0; at < got.size(); ++at) {
    EXPECT_FALSE(std::isnan(bound[at])) << what << " element " << at;
    if (got[at] == want.value[at] && want.tail_at(at) == 0) continue;
    const double error = std::fabs((got[at] - want.value[at]) - want.tail_at(at));
    EXPECT_LE(error, bound[at]) << what << " element " << at << ": want " << want.value[at] << ", got " << got[at];
    worst = std::max(worst, error / bound[at]);
  }
  return worst;
}

struct Used {
  double out = 0, lse = 0;
};

void take(Used& used, const SimulatedKernel& kernel, const Reference& reference) {
  const SimulatedAnswer got = simulate(kernel, reference);
  const Bounds bounds = bound_forward(reference.c, kernel.arithmetic, reference.want);
  const std::string what = to_string(reference.c) + " tile " + std::to_string(kernel.tile) +
                           (kernel.descending ? " descending" : "") + (kernel.base_two ? " base two" : "") +
                           (kernel.adversarial ? " adversarial" : "");
  used.out = std::max(used.out, worst_of(what + " out", got.out, reference.want.out, bounds.out));
  const WideValues& want_lse = kernel.lse_of_keys ? reference.want.lse_keys : reference.want.lse;
  used.lse =
      std::max(used.lse, worst_of(what + " lse", got.lse, want_lse, kernel.lse_of_keys ? bounds.lse_keys : bounds.lse));
}

// Small problems of every kind, in storage `dtype`.
const std::vector<Reference>& small_problems(Dtype dtype) {
  static std::map<Dtype, std::vector<Reference>> all;
  std::vector<Reference>& problems = all[dtype];
  if (!problems.empty()) return problems;
  const std::string storage(to_string(dtype));
  int seed = 0;
  for (const char* shape :
       {"b1.hq2.hkv1.sq4.skv33.dqk8.dv3", "b1.hq1.hkv1.sq5.skv5.dqk3.dv2", "b1.hq1.hkv1.sq2.skv90.dqk16.dv2"}) {
    for (const char* mask : {"full", "causal_bottom_right", "window(9,0)"}) {
      for (const char* recipe :
           {"gauss", "peaked", "sink", "large_offset(100)", "large_offset(-2000)", "uniform_probe"}) {
        for (const char* scale : {"scale0.35", "scale2"}) {
          problems.push_back(reference_of("fwd/" + storage + "/" + shape + "/" + mask + "/" + scale + "/" + recipe +
                                          ":" + std::to_string(++seed) + "/bhsd/single"));
        }
      }
    }
  }
  return problems;
}

// Runs a kernel that does what it declares over the small problems, in several tiles, both orders and both bases.
Used take_all(const Arithmetic& declared, Dtype storage) {
  Used used;
  for (const Reference& reference : small_problems(storage)) {
    SimulatedKernel kernel{resolve(declared, storage)};
    for (const std::int64_t tile : {1, 7, 32}) {
      for (const int form : {0, 1, 2, 3}) {
        kernel.tile = tile;
        kernel.descending = form % 2 == 1;
        kernel.base_two = form >= 2;
        for (const bool adversarial : {false, true}) {
          if (adversarial && kernel.arithmetic.accumulator_dtype == Dtype::kF64) continue;
          kernel.adversarial = adversarial;
          take(used, kernel, reference);
        }
      }
    }
  }
  return used;
}

TEST(ForwardBound, HoldsForFp32KernelsAtTheirWorst) {
  const Used used = take_all({}, Dtype::kF32);
  RecordProperty("bound_used_out", std::to_string(used.out));
  RecordProperty("bound_used_lse", std::to_string(used.lse));
  EXPECT_GT(used.out, 0.25);  // a bound that nobody can approach is too wide
  EXPECT_GT(used.lse, 0.25);
}

TEST(ForwardBound, HoldsForNarrowStorageWithItsCastOfP) {
  for (const Dtype storage : {Dtype::kBf16, Dtype::kF16}) {
    const Used used = take_all({}, storage);
    RecordProperty(std::string(to_string(storage)) + "_bound_used_out", std::to_string(used.out));
    EXPECT_GT(used.out, 0.5) << to_string(storage);
    EXPECT_GT(used.lse, 0.25) << to_string(storage);
  }
}

TEST(ForwardBound, HoldsForDoubleKernels) {
  const Used used = take_all({}, Dtype::kF64);
  EXPECT_GT(used.out, 0.125);
}

struct Declaration {
  const char* name;
  Dtype storage;
  std::function<void(Arithmetic&)> declare;
};

TEST(ForwardBound, HoldsForEverySloppinessThatIsDeclared) {
  const Declaration declarations[]{
      {"coarse exp", Dtype::kF32, [](Arithmetic& a) { a.exp_error_relative = 8.8e-5; }},
      {"coarse exp in bf16", Dtype::kBf16, [](Arithmetic& a) { a.exp_error_relative = 0.01; }},
      {"l sums cast P", Dtype::kBf16, [](Arithmetic& a) { a.l_sums_cast_p = true; }},
      {"l sums cast P", Dtype::kF16, [](Arithmetic& a) { a.l_sums_cast_p = true; }},
      {"P in e4m3", Dtype::kBf16, [](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3, a.p_scale = 256; }},
      {"bf16 scores", Dtype::kBf16, [](Arithmetic& a) { a.score_dtype = Dtype::kBf16; }},
      {"bf16 operands", Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = a.p_dtype = Dtype::kBf16; }},
      {"tf32 operands", Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = a.p_dtype = Dtype::kTf32; }},
      {"fp16 operands", Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = Dtype::kF16; }},
      {"bf16 accumulators", Dtype::kBf16, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kBf16; }},
      {"fp16 accumulators", Dtype::kF16, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kF16; }},
      {"normalised P", Dtype::kF16, [](Arithmetic& a) { a.p_is_normalised = true; }},
      {"normalised P", Dtype::kF32, [](Arithmetic& a) { a.p_is_normalised = true, a.exp_error_relative = 0x1p-40; }},
      {"double inside", Dtype::kF32, [](Arithmetic& a) { a.accumulator_dtype = a.p_dtype = Dtype::kF64; }},
      {"keys in any order", Dtype::kF32, [](Arithmetic& a) { a.key_order = KeyOrder::kAnyOrder; }}};
  for (const Declaration& one : declarations) {
    Arithmetic declared;
    one.declare(declared);
    const Used used = take_all(declared, one.storage);
    RecordProperty(std::string(one.name) + " " + std::string(to_string(one.storage)), std::to_string(used.out));
    EXPECT_GT(used.out, 0.0625) << one.name;
  }
}

// Problems whose rows lie in documents or have holes.
std::vector<Reference> documents_and_blocks(Dtype storage) {
  std::vector<Reference> problems;
  int seed = 0;
  for (const char* mask : {"document(3+0+2,30+5+9)+causal", "document(2+2,0+40)", "block_sparse(1x1,keep0.4:3)",
                           "block_sparse(2x5,keep0.5:8)", "block_sparse(4x3,keep0.7:9)"}) {
    for (const char* recipe : {"gauss", "peaked", "large_offset(-2000)", "uniform_probe", "sink"}) {
      problems.push_back(reference_of("fwd/" + std::string(to_string(storage)) + "/b1.hq1.hkv1.sq6.skv47.dqk8.dv3/" +
                                      mask + "/scale0.35/" + recipe + ":" + std::to_string(++seed) + "/bhsd/single"));
    }
  }
  return problems;
}

TEST(ForwardBound, HoldsForDocumentsAndForRowsWithHoles) {
  for (const Dtype storage : {Dtype::kF32, Dtype::kBf16}) {
    for (const std::int64_t tile : {1, 7, 16}) {
      for (const KeyOrder order : {KeyOrder::kMonotone, KeyOrder::kAnyOrder}) {
        for (const double exp_error : {0.0, 0x1p-13}) {
          Arithmetic declared;
          declared.tile_kv = tile, declared.key_order = order, declared.exp_error_relative = exp_error;
          Used used;
          for (const Reference& reference : documents_and_blocks(storage)) {
            for (const bool adversarial : {false, true}) {
              SimulatedKernel kernel{resolve(declared, storage), tile};
              kernel.adversarial = adversarial;
              kernel.descending = tile == 7;
              take(used, kernel, reference);
            }
          }
          EXPECT_GT(used.out, 0.125) << to_string(storage) << " tile " << tile;
          EXPECT_GT(used.lse, 0.125) << to_string(storage) << " tile " << tile;
        }
      }
    }
  }
}

// Every visible key is a tile of its own although eight of them would fit into one: each of them rescales.
TEST(ForwardBound, CountsATileForEveryHole) {
  Arithmetic declared;
  declared.tile_kv = 8, declared.key_order = KeyOrder::kAnyOrder, declared.exp_error_relative = 0x1p-8;
  const Arithmetic resolved = resolve(declared, Dtype::kF32);
  const Problem problem = parse_case("fwd/fp32/b1.hq1.hkv1.sq1.skv20.dqk1.dv1/full/scale1/gauss:5/bhsd/single").problem;
  RowScalars row;
  row.visible_count = 8;
  row.p_max = 0.125;
  const auto exponentials_of = [&](std::int64_t ranges) {
    row.visible_ranges = ranges;
    return std::lround(std::log1p(row_errors(problem, resolved, row).weight_max) / std::log1p(0x1p-8));
  };
  EXPECT_EQ(exponentials_of(1), 1 + 1);  // one exponential, one event
  EXPECT_EQ(exponentials_of(3), 1 + 1 + 2 * 2);
  EXPECT_EQ(exponentials_of(8), 1 + 8);  // never more than keys
}

TEST(ForwardBound, HoldsForMergedPartsInBothForms) {
  for (const bool lerp : {false, true}) {
    for (const std::int64_t merges : {1, 4}) {
      for (const Dtype partial : {Dtype::kDefault, Dtype::kBf16, Dtype::kF16}) {
        Arithmetic declared;
        declared.merges = merges, declared.merge_is_lerp = lerp, declared.partial_dtype = partial;
        Used used;
        for (const Reference& reference : small_problems(Dtype::kF32)) {
          SimulatedKernel kernel{resolve(declared, Dtype::kF32), 7};
          for (const bool adversarial : {false, true}) {
            kernel.adversarial = adversarial;
            take(used, kernel, reference);
          }
        }
        EXPECT_GT(used.out, 0.0625) << merges << " " << lerp;
      }
    }
  }
}

TEST(ForwardBound, HoldsForRings) {
  for (const char* topology : {"contiguous2", "contiguous7", "zigzag3", "zigzag4"}) {
    for (const Dtype storage : {Dtype::kF32, Dtype::kBf16}) {
      Used used;
      for (const Reference& single : small_problems(storage)) {
        Case c = single.c;
        c.problem.topology = parse_topology(topology);
        const Reference reference = prepare(c, 1);
        for (const bool adversarial : {false, true}) {
          SimulatedKernel kernel{resolve({}, storage), 7};
          kernel.adversarial = adversarial;
          take(used, kernel, reference);
        }
      }
      EXPECT_GT(used.out, 0.0625) << topology;
    }
  }
}

// A part whose weight is e^-30 and whose values are 1000 times larger: the lerp form keeps an absolute error of it.
TEST(ForwardBound, CountsWhatALerpKeepsOfAPartThatWeighsNothing) {
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq1.skv8.dqk1.dv1/full/scale1/gauss:5/bhsd/single");
  Reference reference = prepare(c, 1);
  reference.inputs.q.view().store(0, 0, 0, 0, 1);
  for (std::int64_t j = 0; j < 8; ++j) {
    reference.inputs.k.view().store(0, 0, j, 0, j < 4 ? 0 : 30);
    reference.inputs.v.view().store(0, 0, j, 0, j < 4 ? 1.1 + static_cast<double>(j) / 7 : 0.0011);
  }
  const TensorView q = reference.inputs.q.view(), k = reference.inputs.k.view(), v = reference.inputs.v.view();
  reference.want = attention_forward(c.problem, q, k, v, 1);
  Arithmetic lerp, weighted;
  lerp.merges = weighted.merges = 1;
  lerp.merge_is_lerp = true;
  Used used;
  take(used, {resolve(lerp, Dtype::kF32), 4}, reference);
  const SimulatedAnswer got = simulate({resolve(lerp, Dtype::kF32), 4}, reference);
  EXPECT_GT(std::fabs(got.out[0] - reference.want.out.value[0]), bounds_of(reference, weighted).out[0]);
}

// A gap of 100 e-folds: five roundings of its size and two of the maximum's, exponentials as good as exact.
TEST(ForwardBound, CountsTheRoundingsOfEveryExponent) {
  RowScalars row;
  row.visible_count = 2;
  row.gap_max = row.mean_gap = 100;
  row.score_max = 50;
  const Problem problem = parse_case("fwd/fp32/b1.hq1.hkv1.sq1.skv2.dqk1.dv1/full/scale1/gauss:5/bhsd/single").problem;
  Arithmetic declared;
  declared.exp_error_relative = 0x1p-60;
  const RowErrors errors = row_errors(problem, resolve(declared, Dtype::kF32), row);
  EXPECT_GE(errors.weight_max, std::expm1((5 * 100 + 2 * 50) * 0x1p-24));
  EXPECT_GE(errors.weight_mean, (5 * 100 + 2 * 50) * 0x1p-24);
  EXPECT_GE(std::exp(-(5 * 100 + 2 * 50) * 0x1p-24), errors.weight_sum_min);
}

// P divided by its sum before the cast: one rounding more, and fp16's absolute rounding weighs 1, not max p.
TEST(ForwardBound, CountsTheDivisionBeforeTheCastOfNormalisedP) {
  RowScalars row;
  row.visible_count = 2;
  row.p_max = 0.01;
  const Problem problem = parse_case("fwd/fp16/b1.hq1.hkv1.sq1.skv2.dqk1.dv1/full/scale1/gauss:5/bhsd/single").problem;
  Arithmetic declared;
  declared.p_is_normalised = true;
  const RowErrors errors = row_errors(problem, resolve(declared, Dtype::kF16), row);
  EXPECT_GE(errors.underflow, 0x1p-25);
  EXPECT_GE(errors.numerator, std::expm1(std::log1p(0x1p-11) + 3 * std::log1p(0x1p-24)));
}

// Small values in parts stored as fp16 fall below its normal range: an absolute error, whatever the values.
TEST(ForwardBound, HoldsForPartsOfTinyValues) {
  Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq3.skv24.dqk4.dv2/full/scale0.35/gauss:5/bhsd/single");
  Arithmetic declared;
  declared.merges = 2, declared.partial_dtype = Dtype::kF16;
  for (const int exponent : {-10, -20, -30, -130}) {
    Reference reference = prepare(c, 1);
    const TensorView v = reference.inputs.v.view();
    for (std::int64_t j = 0; j < 24; ++j) {
      for (std::int64_t d = 0; d < 2; ++d) v.store(0, 0, j, d, std::ldexp(v.load(0, 0, j, d), exponent));
    }
    reference.want = attention_forward(c.problem, reference.inputs.q.view(), reference.inputs.k.view(), v, 1);
    Used used;
    take(used, {resolve(declared, Dtype::kF32), 4}, reference);
    EXPECT_GT(used.out, 0) << exponent;
  }
}

// What a longer ring would pass on: O rounded to the partial's format, and nothing merged.
TEST(ForwardBound, HoldsForTheRoundedPartialOfARingOfOneRank) {
  const std::string line = "fwd/fp32/b1.hq2.hkv1.sq8.skv24.dqk8.dv4/causal_bottom_right/scale0.35/";
  Arithmetic narrow;
  narrow.partial_dtype = Dtype::kBf16;
  const Arithmetic arithmetic = resolve(narrow, Dtype::kF32);
  for (const std::string recipe : {"gauss:5", "walsh_probe:5"}) {
    const Reference single = reference_of(line + recipe + "/bhsd/single");
    for (const std::string ring : {"contiguous1", "striped1"}) {
      const Reference reference = reference_of(line + recipe + "/bhsd/" + ring);
      const Bounds bounds = bounds_of(reference, narrow), plain = bounds_of(single, {});
      EXPECT_EQ(bounds_of(reference, {}).out, plain.out) << "a partial that is not rounded costs nothing";
      EXPECT_EQ(bounds_of(single, narrow).out, plain.out) << "one device passes no partial on";
      EXPECT_EQ(bounds.lse, plain.lse);
      EXPECT_TRUE(rounds_partials(reference.c.problem, arithmetic));
      std::size_t beyond = 0;
      for (std::size_t at = 0; at < bounds.out.size(); ++at) {
        const double want = reference.want.out.value[at], error = std::fabs(round_to(Dtype::kBf16, want) - want);
        EXPECT_LE(error, bounds.out[at]) << recipe << " element " << at;
        beyond += plain.out[at] < error;
        if (want == 0) {
          EXPECT_EQ(bounds.out[at], plain.out[at]) << "what is 0 stays 0";
        }
      }
      EXPECT_NE(beyond, 0u) << recipe;
    }
  }
}

// One term passes its product and every addition of its chain. Equal scores: no rescale adds to them.
TEST(ForwardBound, CountsTheProductBeforeADeclaredChainOfAdditions) {
  const Reference reference =
      reference_of("fwd/fp32/b1.hq1.hkv1.sq8.skv64.dqk4.dv2/full/scale0.35/uniform_probe:5/bhsd/single");
  Arithmetic sum_of_pairs;
  sum_of_pairs.accumulation_depth = 6;
  const Bounds known = bounds_of(reference, sum_of_pairs), unknown = bounds_of(reference, {});
  for (std::size_t at = 0; at < known.out.size(); ++at) EXPECT_LT(known.out[at], unknown.out[at]);
  const RowScalars& row = reference.want.statistics.rows[0];
  const RowErrors errors = row_errors(reference.c.problem, resolve(sum_of_pairs, Dtype::kF32), row);
  EXPECT_GE(errors.numerator, std::expm1(7 * std::log1p(0x1p-24)));
  EXPECT_LT(errors.numerator, gamma_nearest(8, 0x1p-24));
}

const Declaration kLooser[]{
    {"operands", Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = Dtype::kTf32; }},
    {"operands", Dtype::kF16, [](Arithmetic& a) { a.operand_dtype = Dtype::kBf16; }},
    {"scores", Dtype::kF32, [](Arithmetic& a) { a.score_dtype = Dtype::kF16; }},
    {"scores", Dtype::kBf16, [](Arithmetic& a) { a.score_dtype = Dtype::kBf16; }},
    {"P", Dtype::kF32, [](Arithmetic& a) { a.p_dtype = Dtype::kF16; }},
    {"P", Dtype::kF16, [](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3; }},
    {"accumulators", Dtype::kF64, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kF32; }},
    {"accumulators", Dtype::kF32, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kF16; }},
    {"accumulators", Dtype::kBf16, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kBf16; }},
    {"normalised P", Dtype::kF16, [](Arithmetic& a) { a.p_is_normalised = true; }},
    {"any order", Dtype::kBf16, [](Arithmetic& a) { a.key_order = KeyOrder::kAnyOrder; }},
    {"truncation", Dtype::kBf16, [](Arithmetic& a) { a.mma_block = 4, a.accumulator_fraction_bits = 13; }},
    {"merges", Dtype::kF32, [](Arithmetic& a) { a.merges = 1; }},
    {"merges", Dtype::kBf16, [](Arithmetic& a) { a.merges = 7; }},
    {"exp", Dtype::kF32, [](Arithmetic& a) { a.exp_error_relative = 1e-6; }}};

void expect_nowhere_smaller(const std::vector<double>& bound, const std::vector<double>& least,
                            const std::string& what) {
  bool is_looser_somewhere = false;
  for (std::size_t at = 0; at < bound.size(); ++at) {
    EXPECT_GE(bound[at], least[at]) << what << " element " << at;
    is_looser_somewhere |= bound[at] > least[at];
  }
  EXPECT_TRUE(is_looser_somewhere) << what;
}

TEST(ForwardBound, IsNeverSmallerForALooserDeclaration) {
  for (const Declaration& one : kLooser) {
    Arithmetic declared;
    one.declare(declared);
    for (const Reference& reference : small_problems(one.storage)) {
      if (reference.c.inputs.kind != RecipeKind::kGauss) continue;
      const Bounds least = bounds_of(reference, {}), bounds = bounds_of(reference, declared);
      const std::string what = one.name + (" " + to_string(reference.c));
      expect_nowhere_smaller(bounds.out, least.out, what);
      for (std::size_t row = 0; row < bounds.lse.size(); ++row) EXPECT_GE(bounds.lse[row], least.lse[row]) << what;
    }
  }
}

TEST(ForwardBound, GrowsWithEveryMerge) {
  const Reference single = reference_of("fwd/bf16/b1.hq1.hkv1.sq4.skv40.dqk8.dv2/full/scale0.35/gauss:5/bhsd/single");
  for (const bool lerp : {false, true}) {
    for (const Dtype partial : {Dtype::kDefault, Dtype::kBf16}) {
      for (std::int64_t merges = 0; merges < 6; ++merges) {
        Arithmetic fewer, more;
        fewer.merge_is_lerp = more.merge_is_lerp = lerp;
        fewer.partial_dtype = more.partial_dtype = partial;
        fewer.merges = merges, more.merges = merges + 1;
        expect_nowhere_smaller(bounds_of(single, more).out, bounds_of(single, fewer).out, "out");
        expect_nowhere_smaller(bounds_of(single, more).lse, bounds_of(single, fewer).lse, "lse");
      }
    }
  }
  Arithmetic weighted, lerp;
  weighted.merges = lerp.merges = 2;
  lerp.merge_is_lerp = true;
  expect_nowhere_smaller(bounds_of(single, lerp).out, bounds_of(single, weighted).out, "lerp");
  expect_nowhere_smaller(bounds_of(single, lerp).lse, bounds_of(single, weighted).lse, "lerp");
}

TEST(ForwardBound, PromisesNothingWhereNarrowSumsAreTooLong) {
  Arithmetic declared;
  declared.accumulator_dtype = Dtype::kBf16;
  const Reference reference =
      reference_of("fwd/bf16/b1.hq1.hkv1.sq2.skv300.dqk8.dv2/causal_top_left/scale0.35/gauss:5/bhsd/single");
  const Bounds short_rows = bounds_of(reference, declared);
  EXPECT_TRUE(std::isfinite(short_rows.out[0]));
  const Reference whole = reference_of("fwd/bf16/b1.hq1.hkv1.sq2.skv300.dqk8.dv2/full/scale0.35/gauss:5/bhsd/single");
  const Bounds long_rows = bounds_of(whole, declared);
  EXPECT_EQ(long_rows.out, std::vector<double>(4, kInfinity));
  EXPECT_EQ(long_rows.lse, std::vector<double>(2, kInfinity));
  declared = {};
  declared.mma_block = 32, declared.accumulator_fraction_bits = 5;
  EXPECT_EQ(bounds_of(whole, declared).out, std::vector<double>(4, kInfinity));
}

TEST(ForwardBound, IsNeverNaN) {
  for (const char* line : {"fwd/fp32/b1.hq1.hkv1.sq3.skv3.dqk4.dv2/causal_top_left/scale1e+30/gauss:5/bhsd/single",
                           "fwd/fp64/b1.hq1.hkv1.sq3.skv3.dqk4.dv2/causal_top_left/scale1e+300/gauss:5/bhsd/single",
                           "fwd/bf16/b1.hq1.hkv1.sq3.skv3.dqk4.dv2/full/scale1/large_offset(16777216):5/bhsd/single",
                           "fwd/bf16/b1.hq1.hkv1.sq3.skv3.dqk4.dv2/full/scale0/gauss:5/bhsd/zigzag2"}) {
    Reference reference = reference_of(line);
    for (const Dtype accumulator : {Dtype::kDefault, Dtype::kBf16, Dtype::kF16}) {
      Arithmetic declared;
      declared.accumulator_dtype = accumulator;
      for (const std::vector<double>& bounds :
           {bounds_of(reference, declared).out, bounds_of(reference, declared).lse}) {
        for (const double bound : bounds) EXPECT_GE(bound, 0) << line;
      }
    }
    reference.want.out.value[0] = reference.want.statistics.rows[0].lse = std::nan("");
    EXPECT_GE(bounds_of(reference, {}).out[0], 0) << line;
  }
}

TEST(ForwardBound, OfAnEmptyRowIsZero) {
  const Reference reference =
      reference_of("fwd/bf16/b1.hq1.hkv1.sq5.skv3.dqk4.dv2/causal_bottom_right/scale0.35/gauss:5/bhsd/contiguous2");
  const Bounds bounds = bounds_of(reference, {});
  for (std::size_t row = 0; row < 5; ++row) {
    EXPECT_EQ(bounds.lse[row] == 0, row < 2);
    EXPECT_EQ(bounds.out[row * 2] == 0, row < 2);
  }
}

// bf16 operands in bf16 storage are exact: the maximum rises as seldom as the oracle counts.
TEST(ForwardBound, CountsRescalesForEveryStorageThatIsNotRoundedAgain) {
  for (const char* dtype : {"fp32", "fp16", "bf16"}) {
    const Reference reference = reference_of(std::string("fwd/") + dtype +
                                             "/b1.hq1.hkv1.sq2.skv512.dqk64.dv2/full/scale0.125/gauss:5/bhsd/single");
    Arithmetic any;
    any.key_order = KeyOrder::kAnyOrder;
    const Bounds counted = bounds_of(reference, {}), per_tile = bounds_of(reference, any);
    for (std::size_t row = 0; row < 2; ++row) {
      const double exponentials = 512 - static_cast<double>(reference.want.statistics.rows[row].rises);
      EXPECT_GE(per_tile.lse[row] - counted.lse[row], exponentials * 5 * 0x1p-24) << dtype;
    }
  }
}

TEST(OracleError, IsFarBelowWhatCandidatesMayBeWrongBy) {
  for (const Dtype storage : {Dtype::kF64, Dtype::kF32, Dtype::kBf16}) {
    for (const Reference& reference : small_problems(storage)) {
      const Bounds oracle = oracle_error(reference.c.problem, reference.want), bounds = bounds_of(reference, {});
      for (std::size_t at = 0; at < bounds.out.size(); ++at) EXPECT_LT(16 * oracle.out[at], bounds.out[at]);
      for (std::size_t at = 0; at < bounds.lse.size(); ++at) EXPECT_LT(16 * oracle.lse[at], bounds.lse[at]);
    }
  }
}

// The double oracle against the long double one on the same numbers: both within what they promise.
TEST(OracleError, CoversTheDoubleOracleAgainstTheLongDoubleOne) {
  for (const Reference& narrow : small_problems(Dtype::kF32)) {
    Problem wide = narrow.c.problem;
    wide.dtype = Dtype::kF64;
    const auto widened = [](const Tensor& from) {
      Tensor to(Dtype::kF64, from.shape());
      for (std::int64_t at = 0; at < element_count(from.shape()); ++at) {
        const double value = load(from.bytes().data() + at * 4, Dtype::kF32);
        store(static_cast<double*>(to.view().data) + at, Dtype::kF64, value);
      }
      return to;
    };
    const Tensor q = widened(narrow.inputs.q), k = widened(narrow.inputs.k), v = widened(narrow.inputs.v);
    const ForwardAnswer exact = attention_forward(wide, q.view(), k.view(), v.view(), 1);
    const Bounds error = oracle_error(narrow.c.problem, narrow.want), tiny = oracle_error(wide, exact);
    const auto sum = [](std::vector<double> one, const std::vector<double>& other) {
      for (std::size_t at = 0; at < one.size(); ++at) one[at] += other[at];
      return one;
    };
    EXPECT_LE(worst_of(to_string(narrow.c), narrow.want.out.value, exact.out, sum(error.out, tiny.out)), 1);
    EXPECT_LE(worst_of(to_string(narrow.c), narrow.want.lse.value, exact.lse, sum(error.lse, tiny.lse)), 1);
  }
}

TEST(OracleError, PromisesNothingWhereScoresAreAbsurd) {
  const Reference reference =
      reference_of("fwd/fp32/b1.hq1.hkv1.sq1.skv3.dqk4.dv2/full/scale1e+20/gauss:5/bhsd/single");
  const Bounds error = oracle_error(reference.c.problem, reference.want);
  EXPECT_EQ(error.out, std::vector<double>(2, kInfinity));
  EXPECT_EQ(error.lse, std::vector<double>(1, kInfinity));
}

TEST(BoundForward, RanksThatMergeFoldASinkInAsOneMergeMore) {
  const auto merges = [](const std::string& sink, const std::string& topology) {
    const std::string line =
        "fwd/fp32/b1.hq2.hkv2.sq8.skv8.dqk4.dv4/full/scale0.5" + sink + "/gauss:1/bhsd/" + topology;
    return merges_of_row(parse_case(line).problem, {});
  };
  EXPECT_EQ(merges("", "striped4"), 3);
  EXPECT_EQ(merges(",sink", "striped4"), 4);
  EXPECT_EQ(merges(",sink", "all_gather4"), 0);
  EXPECT_EQ(merges(",sink", "single"), 0);
}

}  // namespace
}  // namespace ringproof

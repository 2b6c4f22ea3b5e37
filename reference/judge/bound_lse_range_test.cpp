#include "reference/judge/bound_lse_range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/plain_kernel_test.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

std::vector<Case> some_cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& line) { cases.push_back(parse_case("fwd/" + line)); };
  const std::string shape = "b2.hq4.hkv2.sq30.skv41.dqk8.dv4/";
  for (const char* mask : {"full", "causal_top_left", "causal_bottom_right", "window(9,2)", "window(-1,3)",
                           "document(9+1+20,11+1+20)+causal", "block_sparse(8x12,keep0.5:7)"}) {
    for (const char* rest :
         {"/scale0.35/gauss:3", "/scale-1.5/gauss:4", "/scale0.35,sink/gauss:5", "/scale2,softcap1.5/gauss:6",
          "/scale0.35/large_offset(100):7", "/scale0.35/duplicated:8", "/scale0/gauss:9"}) {
      add("fp32/" + shape + mask + rest + "/bhsd/single");
    }
    add("bf16/" + shape + mask + "/scale0.35/peaked:7/bhsd/contiguous3");
    add("fp64/" + shape + mask + "/scale0.35/outlier:8/bhsd/single");
    add("fp8_e4m3/" + shape + mask + "/scale0.35,softcap5,sink,descale(0.7,1.3,3)/gauss:9/bhsd/single");
  }
  return cases;
}

std::vector<Arithmetic> some_arithmetics(Dtype storage) {
  Arithmetic merged, narrow, any_order;
  merged.merges = 3, merged.merge_is_lerp = true;
  narrow.score_dtype = Dtype::kBf16, narrow.l_sums_cast_p = true;
  any_order.key_order = KeyOrder::kAnyOrder, any_order.tile_kv = 8;
  std::vector<Arithmetic> all;
  for (const Arithmetic& one : {Arithmetic{}, merged, narrow, any_order}) all.push_back(resolve(one, storage));
  return all;
}

TEST(LseRange, HoldsTheExactLseOfEveryRow) {
  for (const Case& c : some_cases()) {
    const Reference reference = prepare(c, 1);
    for (const bool of_keys : {false, true}) {
      if (of_keys && !c.problem.has_sink) continue;
      const WideValues& want = of_keys ? reference.want.lse_keys : reference.want.lse;
      std::size_t rows = 0;
      for_each_lse_range(reference, resolve({}, c.problem.dtype), of_keys, [&](std::int64_t at, const LseRange& range) {
        const auto row = static_cast<std::size_t>(at);
        EXPECT_LE(range.least, want.value[row]) << to_string(c) << " row " << at;
        EXPECT_LE(want.value[row], range.largest) << to_string(c) << " row " << at;
        ++rows;
      });
      const std::vector<RowScalars>& all = reference.want.statistics.rows;
      EXPECT_EQ(rows,
                std::count_if(all.begin(), all.end(), [](const RowScalars& one) { return one.visible_count > 0; }));
    }
  }
}

TEST(LseRange, GrantsNoLessThanTheBoundThatKnowsTheScores) {
  for (const Case& c : some_cases()) {
    const Reference reference = prepare(c, 1);
    for (const Arithmetic& arithmetic : some_arithmetics(c.problem.dtype)) {
      const Bounds bounds = bound_forward(c, arithmetic, reference.want);
      for (const bool of_keys : {false, true}) {
        if (of_keys && !c.problem.has_sink) continue;
        for_each_lse_range(reference, arithmetic, of_keys, [&](std::int64_t row, const LseRange& range) {
          const double known = (of_keys ? bounds.lse_keys : bounds.lse)[static_cast<std::size_t>(row)];
          EXPECT_LE(known, range.bound) << to_string(c) << " row " << row;
        });
      }
    }
  }
}

TEST(LseRange, ShowsHalfTheKeysDroppedOutsideTheSample) {
  for (const char* mask : {"full", "causal_bottom_right"}) {
    const Case c = parse_case(std::string("fwd/bf16/b1.hq2.hkv1.sq300.skv900.dqk16.dv4/") + mask +
                              "/scale0.25/gauss:5/bhsd/single");
    const Reference whole = prepare(c, 1), sample = prepare(c, {1, 60}, 1);
    const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
    Got got = run_plain(correct_kernel(Dtype::kBf16), whole);
    const Evidence clean = compare("it", sample, arithmetic, got);
    EXPECT_EQ(verify_case(clean).outcome, Outcome::kAccepted);
    EXPECT_EQ(clean.tensors[1].count, 600);
    EXPECT_EQ(clean.tensors[0].count, static_cast<std::int64_t>(4 * sample.want.row_count()));
    // Some rows have keys whose mean score lies farther below lse than others.
    for (std::int64_t row = 0; row < 300; ++row)
      got.lse.view().store(0, 1, row, 0, got.lse.view().load(0, 1, row, 0) - std::log(2.0));
    const Evidence faulty = compare("it", sample, arithmetic, got);
    EXPECT_EQ(failing_check(faulty), "bound of lse");
    EXPECT_LT(static_cast<std::int64_t>(sample.want.row_count()), faulty.tensors[1].count_outside) << mask;
    got.rows_spoiled.assign(600, true);
    EXPECT_EQ(compare("it", sample, arithmetic, got).tensors[1].count, 0);
  }
}

}  // namespace
}  // namespace ringproof

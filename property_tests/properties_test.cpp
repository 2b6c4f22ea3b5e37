// A property that nothing breaks shows nothing: each is broken here by a mutant, and holds for that mutant's
// specimen on the same Case. And what is drawn when one fails: the simplest Case, with the command that runs it
// again.

#include "reference/judge/properties.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "distributed/candidates.h"
#include "property_tests/candidates.h"
#include "property_tests/expect.h"
#include "property_tests/mutants/mutants.h"

namespace ringproof {
namespace {

Mutant mutant_named(const std::string& name) {
  for (const Mutant& mutant : mutants()) {
    if (mutant.name == name) return mutant;
  }
  ADD_FAILURE() << "there is no mutant " << name;
  return {};
}

using PropertyOfCandidate = std::function<PropertyResult(const Candidate&, const Case&, Buffers&)>;

void expect_broken_by(const std::string& name, const PropertyOfCandidate& property, const std::string& line) {
  const Mutant mutant = mutant_named(name);
  const Case c = parse_case(line);
  Buffers buffers;
  EXPECT_EQ(property(mutant.candidate, c, buffers).outcome, Outcome::kRejected) << name;
  EXPECT_EQ(property(mutant.specimen, c, buffers).sentence, "") << mutant.specimen.name;
}

TEST(EveryProperty, AcceptanceIsBrokenByAWrongScale) {
  const Mutant mutant = mutant_named("scale_nine_tenths");
  const Case c = parse_case("fwd/bf16/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
  EXPECT_NE(is_accepted(mutant.candidate, c), "");
  EXPECT_EQ(is_accepted(mutant.specimen, c), "");
}

TEST(EveryProperty, ConvexityIsBrokenByAKeyReadAsZero) {
  expect_broken_by("last_key_read_as_zero", rows_are_convex_combinations,
                   "fwd/fp32/b1.hq2.hkv2.sq9.skv20.dqk16.dv8/full/scale0.25/head_coded:1/bhsd/single");
}

TEST(EveryProperty, ConstantVIsBrokenByARowSumThatCountsAKeyTwice) {
  expect_broken_by("key_of_maximum_counted_twice", constant_values_are_returned,
                   "fwd/fp16/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, IgnoranceOfTheFutureIsBrokenByAnEdgeOneKeyTooFar) {
  expect_broken_by("causal_edge_one_too_far", hidden_keys_change_nothing,
                   "fwd/fp32/b1.hq1.hkv1.sq20.skv20.dqk16.dv8/causal_top_left/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, TheOrderOfKeysIsBrokenByADroppedLastKey) {
  expect_broken_by("last_key_dropped", key_order_changes_nothing,
                   "fwd/bf16/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, GroupedHeadsAreBrokenByAnInterleavedMap) {
  expect_broken_by("group_map_interleaved", grouped_heads_equal_repeated_heads,
                   "fwd/fp32/b1.hq4.hkv2.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, TheTopologyIsBrokenByADroppedHop) {
  expect_broken_by("hop_dropped_on_last_rank", topology_changes_nothing,
                   "fwd/fp32/b1.hq1.hkv1.sq20.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/striped3");
}

TEST(EveryProperty, OneRankIsBrokenByARunningLseThatStartsAtZero) {
  const Candidate single = built_in("ring:double");
  expect_broken_by(
      "running_lse_starts_at_zero",
      [&](const Candidate& ring, const Case& c, Buffers& buffers) {
        return one_rank_equals_single(ring, single, c, buffers);
      },
      "fwd/fp32/b1.hq1.hkv1.sq9.skv9.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, LinearityIsBrokenByAnOutputSquared) {
  const Candidate correct = built_in("ring:double");
  Candidate squared = correct;
  squared.forward = [correct](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                              const TensorView& out, const TensorView* lse, void* stream) {
    const Status status = correct.forward(problem, q, k, v, out, lse, stream);
    for_each_element(out.shape, [&](const ElementIndex& at) {
      const double value = out.load(at.batch, at.head, at.row, at.column);
      out.store(at.batch, at.head, at.row, at.column, value * std::fabs(value));
    });
    return status;
  };
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
  Buffers buffers;
  EXPECT_EQ(values_enter_linearly(squared, c, buffers).outcome, Outcome::kRejected);
  EXPECT_EQ(values_enter_linearly(correct, c, buffers).sentence, "");
}

TEST(EveryProperty, ACommonOffsetIsBrokenByAnUnmaskedPadKey) {
  expect_broken_by("zero_pad_key_unmasked", common_offset_changes_nothing,
                   "fwd/fp32/b1.hq1.hkv1.sq30.skv20.dqk16.dv8/causal_top_left/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, HeadsApartAreBrokenByAHeadThatReadsItsNeighbour) {
  expect_broken_by("head_1_reads_head_0", other_heads_change_nothing,
                   "fwd/fp32/b1.hq2.hkv2.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:2/bhsd/single");
}

TEST(EveryProperty, TheWholeWindowIsBrokenByARightEdgeOneTooShort) {
  expect_broken_by("window_right_one_too_short", whole_window_equals_causal,
                   "fwd/fp32/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/causal_bottom_right/scale0.25/gauss:1/bhsd/single");
}

TEST(EveryProperty, MergedHalvesAreBrokenByAnLseInBaseTwo) {
  expect_broken_by("lse_in_base_2", merged_halves_equal_the_whole,
                   "fwd/fp32/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
}

// What a run would hold of that candidate after asking the properties of one Case.
Evidence examined(const Candidate& candidate, PropertyExaminer& examiner, Buffers& buffers,
                  const std::string& shape = "b1.hq1.hkv1.sq9.skv20.dqk16.dv8") {
  const Case c = parse_case("fwd/fp32/" + shape + "/full/scale0.25/gauss:1/bhsd/single");
  Evidence evidence{};
  evidence.dtype = c.problem.dtype;
  evidence.status = CallStatus::kReturned;
  examiner.examine(candidate, c, buffers, evidence);
  return evidence;
}

Evidence examined(const Candidate& candidate, PropertyExaminer& examiner) {
  Buffers buffers;
  return examined(candidate, examiner, buffers);
}

TEST(TheExaminer, NamesThePropertyThatDoesNotHold) {
  const Mutant mutant = mutant_named("lse_in_base_2");
  PropertyExaminer examiner;
  const Evidence evidence = examined(mutant.candidate, examiner);
  ASSERT_FALSE(evidence.property_faults.empty());
  EXPECT_TRUE(evidence.property_faults.back().starts_with("merged halves equal the whole: out"))
      << evidence.property_faults.back();
  EXPECT_TRUE(evidence.left_open.empty());
  EXPECT_EQ(verify_case(evidence).outcome, Outcome::kRejected);
  const Evidence of_specimen = examined(mutant.specimen, examiner);
  EXPECT_EQ(verify_case(of_specimen).outcome, Outcome::kAccepted) << verify_case(of_specimen).reason;
  EXPECT_EQ(of_specimen.count_properties, 6);
}

TEST(TheExaminer, AsksEachPropertyTwiceAndNoMore) {
  PropertyExaminer examiner;
  const Candidate correct = built_in("flash_forward_fp32");
  EXPECT_EQ(examined(correct, examiner).count_properties, 6);
  EXPECT_EQ(examined(correct, examiner).count_properties, 6);
  EXPECT_EQ(examined(correct, examiner).count_properties, 0);
  EXPECT_EQ(examined(built_in("ring:double"), examiner).count_properties, 7);
}

TEST(TheExaminer, IsInconclusiveWhereACallDoesNotReturn) {
  Candidate broken = built_in("flash_forward_fp32");
  broken.forward = [](const Problem&, const TensorView&, const TensorView&, const TensorView&, const TensorView&,
                      const TensorView*, void*) -> Status { throw std::runtime_error("no luck"); };
  PropertyExaminer examiner;
  const Evidence evidence = examined(broken, examiner);
  EXPECT_TRUE(evidence.property_faults.empty());
  EXPECT_EQ(evidence.count_properties, 0);
  const CaseVerdict verdict = verify_case(evidence);
  EXPECT_EQ(verdict.outcome, Outcome::kInconclusive);
  EXPECT_NE(verdict.reason.find("no luck"), std::string::npos);
}

TEST(TheExaminer, LeavesTheCaseOpenWhereItCannotAsk) {
  Candidate broken = built_in("flash_forward_fp32");
  broken.describe = [](Dtype, Direction) -> Description { throw std::runtime_error("no luck"); };
  PropertyExaminer examiner;
  const CaseVerdict verdict = verify_case(examined(broken, examiner));
  EXPECT_EQ(verdict.outcome, Outcome::kInconclusive);
  EXPECT_EQ(verdict.reason, "its properties could not be asked: no luck");
}

TEST(TheExaminer, DoesNotCountWhatHadNothingToCompare) {
  PropertyExaminer examiner;
  Buffers buffers;
  const Candidate ring = built_in("ring:double");
  const Evidence empty = examined(ring, examiner, buffers, "b1.hq1.hkv1.sq0.skv20.dqk16.dv8");
  EXPECT_EQ(empty.count_properties, 0);
  EXPECT_EQ(empty.count_properties_left_out, 7);
  EXPECT_TRUE(empty.property_faults.empty());
  const Evidence full = examined(ring, examiner, buffers);  // and it is asked again
  EXPECT_EQ(full.count_properties, 7);
  EXPECT_EQ(full.count_properties_left_out, 0);
  const auto share = [](const Evidence& one, const std::string& name) {
    for (const Fact& fact : verify(std::vector{one}, "").facts) {
      if (fact.name == name) return fact.value;
    }
    return 0.0;
  };
  EXPECT_EQ(share(empty, "properties left out"), 7);
  EXPECT_EQ(share(empty, "properties held"), 0);
  EXPECT_EQ(share(full, "properties held"), 7);
}

// No property may be asked what it cannot answer: no rows, no keys, under any mask.
TEST(TheExaminer, EndsOnCasesWithoutRowsOrKeys) {
  const Candidate oracle = oracle_candidate();
  for (const std::string shape : {"sq0.skv5", "sq5.skv0", "sq0.skv0"}) {
    const bool has_rows = shape[2] != '0', has_keys = shape.back() != '0';
    const std::string document = std::string("document(") + (has_rows ? "5" : "0") + "," + (has_keys ? "5" : "0") + ")";
    for (const std::string& mask : {std::string("full"), std::string("causal_top_left"), std::string("window(2,1)"),
                                    std::string("causal_bottom_right"), document}) {
      const Case c =
          parse_case("fwd/fp32/b1.hq4.hkv2." + shape + ".dqk16.dv8/" + mask + "/scale0.25/gauss:1/bhsd/single");
      Evidence evidence{};
      evidence.dtype = c.problem.dtype;
      evidence.status = CallStatus::kReturned;
      Buffers buffers;
      PropertyExaminer().examine(oracle, c, buffers, evidence);
      EXPECT_TRUE(evidence.property_faults.empty()) << shape << " " << mask;
      EXPECT_TRUE(evidence.left_open.empty()) << shape << " " << mask;
    }
  }
}

// Where bounds promise nothing, nothing is compared either.
TEST(TheExaminer, DoesNotCountWhatNoBoundHolds) {
  Candidate vague = built_in("flash_forward_fp32");
  vague.describe = [whole = vague.describe](Dtype dtype, Direction direction) {
    Description description = whole(dtype, direction);
    description.arithmetic.accumulator_dtype = Dtype::kBf16;
    return description;
  };
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq9.skv600.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
  Buffers buffers;
  for (const auto holds : {rows_are_convex_combinations, values_enter_linearly, key_order_changes_nothing}) {
    EXPECT_EQ(holds(vague, c, buffers).outcome, Outcome::kUnsupported);
  }
}

TEST(TheExaminer, FindsWhatACallWritesAfterItsReturn) {
  Candidate late = built_in("ring:double");
  TensorView kept;
  late.forward = [&kept, forward = late.forward](const Problem& problem, const TensorView& q, const TensorView& k,
                                                 const TensorView& v, const TensorView& out, const TensorView* lse,
                                                 void* stream) {
    kept = out;
    return forward(problem, q, k, v, out, lse, stream);
  };
  PropertyExaminer examiner;
  Buffers buffers;
  EXPECT_EQ(verify_case(examined(late, examiner, buffers)).outcome, Outcome::kAccepted);
  kept.store(0, 0, 0, 0, 77);
  const Evidence found = examined(late, examiner, buffers);
  ASSERT_EQ(found.structure_faults.size(), 1u);
  EXPECT_NE(found.structure_faults[0].find("wrote after its return"), std::string::npos);
  EXPECT_TRUE(found.property_faults.empty()) << "it is told once";
}

// Correct by its declaration, and not by the bits of one device.
TEST(EveryProperty, OneRankHoldsForARingThatRoundsItsPartial) {
  Candidate ring = built_in("ring:double");
  ring.forward = [forward = ring.forward](const Problem& problem, const TensorView& q, const TensorView& k,
                                          const TensorView& v, const TensorView& out, const TensorView* lse,
                                          void* stream) {
    const Status status = forward(problem, q, k, v, out, lse, stream);
    if (problem.topology.schedule == Schedule::kSingle) return status;
    for_each_element(out.shape, [&](const ElementIndex& at) {
      const double value = out.load(at.batch, at.head, at.row, at.column);
      out.store(at.batch, at.head, at.row, at.column, round_to(Dtype::kBf16, value));
    });
    return status;
  };
  const Candidate undeclared = ring;
  ring.describe = [whole = ring.describe](Dtype dtype, Direction direction) {
    Description description = whole(dtype, direction);
    description.arithmetic.partial_dtype = Dtype::kBf16;
    return description;
  };
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq9.skv9.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
  Buffers buffers;
  const Candidate single = built_in("ring:double");
  EXPECT_EQ(one_rank_equals_single(ring, single, c, buffers).sentence, "");
  EXPECT_EQ(one_rank_equals_single(ring, single, c, buffers, true).outcome, Outcome::kRejected);
  EXPECT_EQ(one_rank_equals_single(undeclared, single, c, buffers).outcome, Outcome::kRejected);
}

TEST(TheExaminer, LeavesOutWhatTheDeclarationDoesNotCover) {
  Candidate short_only = built_in("flash_forward_fp32");
  short_only.describe = [whole = short_only.describe](Dtype dtype, Direction direction) {
    Description description = whole(dtype, direction);
    description.seqlen_max = 20;
    return description;
  };
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq20.skv20.dqk16.dv8/document(20,20)/scale0.25/gauss:1/bhsd/single");
  Buffers buffers;
  EXPECT_EQ(padding_changes_nothing(short_only, c, buffers).outcome, Outcome::kUnsupported);
  Evidence evidence{};
  evidence.dtype = c.problem.dtype;
  evidence.status = CallStatus::kReturned;
  PropertyExaminer().examine(short_only, c, buffers, evidence);
  EXPECT_TRUE(evidence.left_open.empty());
  EXPECT_EQ(verify_case(evidence).outcome, Outcome::kAccepted);
}

TEST(EveryProperty, AnySplitIsBrokenByAMergeThatForgetsTheOtherSide) {
  const auto forget = [](const TensorView&, const TensorView&, const TensorView&, const TensorView&) {};
  const Case c = parse_case("fwd/fp32/b1.hq1.hkv1.sq9.skv20.dqk16.dv8/full/scale0.25/gauss:1/bhsd/single");
  EXPECT_NE(is_accepted(split_candidate(double_step(), forget, 2), c), "");
  EXPECT_EQ(is_accepted(split_candidate(double_step(), merge_partial, 2), c), "");
}

TEST(AFailedProperty, ShowsTheSimplestCaseAndHowToRunItAgain) {
  const auto expect_short_only = [] {
    expect_property(space_of(built_in("ring:double")), 200,
                    [](const Case& c) { return c.problem.seqlen_kv < 7 ? std::string() : std::string("is long"); });
  };
  EXPECT_NONFATAL_FAILURE(expect_short_only(), "again: RINGPROOF_CASE='fwd/");
  EXPECT_NONFATAL_FAILURE(expect_short_only(), ".skv7.dqk1.dv1/full/");  // documents shrink to no rows
}

TEST(AFailedProperty, MayBeOneThatThrows) {
  const auto expect_no_throw = [] {
    const rc::Gen<Case> cases = cases_of(space_of(built_in("ring:double")));
    expect_property(cases, 1, [](const Case&) -> std::string { throw std::runtime_error("nothing to see"); });
  };
  EXPECT_NONFATAL_FAILURE(expect_no_throw(), "ended with an exception: nothing to see");
}

TEST(DrawnCases, MeetEveryMaskDtypeRecipeAndTopology) {
  const CaseSpace space = space_of(built_in("ring:double"));
  std::set<MaskKind> masks;
  std::set<Dtype> dtypes;
  std::set<RecipeKind> recipes;
  std::set<std::string> topologies;
  std::int64_t count_empty = 0;
  expect_property(space, 2000, [&](const Case& c) {
    masks.insert(c.problem.mask.kind);
    dtypes.insert(c.problem.dtype);
    recipes.insert(c.inputs.kind);
    topologies.insert(to_string(c.problem.topology));
    count_empty += c.problem.seqlen_kv == 0;
    return lies_in(space, c) ? std::string() : std::string("lies outside its space");
  });
  EXPECT_EQ(masks.size(), 6u);
  EXPECT_EQ(dtypes.size(), 4u);
  EXPECT_EQ(recipes.size(), 15u);
  EXPECT_EQ(topologies.size(), 45u);
  EXPECT_NE(count_empty, 0);
}

TEST(DrawnCases, MeetSoftcapSinkAndDescaleWhereTheyAreDeclared) {
  const CaseSpace space = space_of(oracle_candidate());
  std::int64_t count_softcap = 0, count_sink = 0, count_descale = 0;
  std::set<Dtype> dtypes;
  expect_property(space, 500, [&](const Case& c) {
    dtypes.insert(c.problem.dtype);
    count_softcap += c.problem.softcap != 0;
    count_sink += c.problem.has_sink;
    count_descale += c.problem.descale_v != 1;
    return std::string();
  });
  EXPECT_EQ(dtypes.size(), 6u);
  EXPECT_NE(count_softcap, 0);
  EXPECT_NE(count_sink, 0);
  EXPECT_NE(count_descale, 0);
}

}  // namespace
}  // namespace ringproof

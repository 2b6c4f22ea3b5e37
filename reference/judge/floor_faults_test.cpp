#include "reference/judge/floor_faults.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "reference/judge/compare.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

constexpr std::int64_t kAllRows = 1 << 20, kAnyWork = std::int64_t{1} << 40;

Reference reference_of(const std::string& mask, const std::string& shape = "b2.hq4.hkv2.sq20.skv30.dqk16.dv8",
                       const std::string& recipe = "gauss:5", const std::string& dtype = "fp32") {
  return prepare(parse_case("fwd/" + dtype + "/" + shape + "/" + mask + "/scale0.5/" + recipe + "/bhsd/single"), 1);
}

// What the oracle answers on an edited Case.
Reference edited(const Reference& reference, const std::function<void(Reference&)>& edit) {
  Reference other = reference;
  edit(other);
  const Inputs& in = other.inputs;
  other.want = attention_forward(other.c.problem, in.q.view(), in.k.view(), in.v.view(), 1);
  return other;
}

Tensor keys_of(const Tensor& from, const std::vector<std::int64_t>& keys) {
  Shape shape = from.shape();
  shape[2] = static_cast<std::int64_t>(keys.size());
  Tensor to(from.dtype(), shape);
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t j = 0; j < shape[2]; ++j) {
        for (std::int64_t c = 0; c < shape[3]; ++c) {
          to.view().store(b, h, j, c, from.view().load(b, h, keys[static_cast<std::size_t>(j)], c));
        }
      }
    }
  }
  return to;
}

Reference with_keys(const Reference& reference, const std::vector<std::int64_t>& keys) {
  return edited(reference, [&](Reference& other) {
    other.inputs.k = keys_of(other.inputs.k, keys);
    other.inputs.v = keys_of(other.inputs.v, keys);
    other.c.problem.seqlen_kv = static_cast<std::int64_t>(keys.size());
  });
}

std::vector<std::int64_t> keys_up_to(std::int64_t count) {
  std::vector<std::int64_t> keys;
  for (std::int64_t key = 0; key < count; ++key) keys.push_back(key);
  return keys;
}

bool is_accepted(const Reference& reference, const Got& got) {
  const Arithmetic arithmetic = resolve({}, reference.c.problem.dtype);
  return failing_checks(compare("", reference, arithmetic, got)).empty();
}

// The faulty answer is right on the edited Case and wrong on the Case itself.
void expect_is_answer_of(const Reference& reference, FloorFault fault, const Reference& wanted) {
  const AlteredRows rows(reference, kAllRows, kAnyWork);
  const FaultyAnswer answer = with_fault(rows, fault);
  ASSERT_TRUE(answer.applies) << answer.why_unchanged;
  ASSERT_EQ(answer.why_unchanged, "");
  EXPECT_TRUE(is_accepted(wanted, answer.got)) << to_string(fault);
  EXPECT_FALSE(is_accepted(reference, answer.got)) << to_string(fault);
}

void expect_unchanged(const Reference& reference, FloorFault fault, bool applies, const std::string& why) {
  const FaultyAnswer answer = with_fault(AlteredRows(reference, kAllRows, kAnyWork), fault);
  EXPECT_EQ(answer.applies, applies) << to_string(fault);
  EXPECT_EQ(answer.why_unchanged, why) << to_string(fault);
}

TEST(FloorFaults, LastKeyDroppedIsTheAnswerWithoutIt) {
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    const Reference reference = reference_of("full", "b2.hq4.hkv2.sq20.skv30.dqk16.dv8", "gauss:5", dtype);
    expect_is_answer_of(reference, FloorFault::kLastKeyDropped, with_keys(reference, keys_up_to(29)));
  }
}

TEST(FloorFaults, ADroppedKeyThatHeldAllTheWeightLeavesTheOthers) {
  Reference reference = reference_of("full", "b1.hq1.hkv1.sq4.skv6.dqk16.dv8", "gauss:5");
  for (std::int64_t row = 0; row < 4; ++row) {
    for (std::int64_t c = 0; c < 16; ++c) {
      reference.inputs.q.view().store(0, 0, row, c, 8);
      reference.inputs.k.view().store(0, 0, 5, c, 8);
    }
  }
  reference = edited(reference, [](Reference&) {});
  ASSERT_EQ(reference.want.statistics.rows[0].p_max, 1);
  expect_is_answer_of(reference, FloorFault::kLastKeyDropped, with_keys(reference, keys_up_to(5)));
}

TEST(FloorFaults, TheOnlyKeyDroppedLeavesAnEmptyRow) {
  const Reference reference = reference_of("full", "b1.hq1.hkv1.sq2.skv1.dqk16.dv8");
  const FaultyAnswer answer = with_fault(AlteredRows(reference, kAllRows, kAnyWork), FloorFault::kLastKeyDropped);
  EXPECT_EQ(answer.got.out.view().load(0, 0, 1, 3), 0);
  EXPECT_EQ(answer.got.lse.view().load(0, 0, 1, 0), -std::numeric_limits<double>::infinity());
}

TEST(FloorFaults, AKeyDoubledIsTheAnswerWithItTwice) {
  const Reference reference = reference_of("full");
  std::vector<std::int64_t> keys = keys_up_to(30);
  keys.push_back(14);  // the middle of 0 .. 29
  expect_is_answer_of(reference, FloorFault::kKeyDoubled, with_keys(reference, keys));
}

TEST(FloorFaults, MaskEdgeMovedIsTheAnswerUnderTheWiderMask) {
  const Reference causal = reference_of("causal_bottom_right");
  expect_is_answer_of(causal, FloorFault::kMaskEdgeMoved, edited(causal, [](Reference& other) {
                        other.c.problem.mask = Mask{MaskKind::kWindow, -1, 1};
                      }));
  const Reference left = reference_of("window(3,-1)");
  expect_is_answer_of(left, FloorFault::kMaskEdgeMoved, edited(left, [](Reference& other) {
                        other.c.problem.mask = Mask{MaskKind::kWindow, 4, -1};
                      }));
  expect_unchanged(reference_of("full"), FloorFault::kMaskEdgeMoved, false, "no row has a mask edge");
}

TEST(FloorFaults, KvHeadsRotatedIsTheAnswerOfTheNextHeads) {
  const Reference reference = reference_of("causal_top_left");
  expect_is_answer_of(reference, FloorFault::kKvHeadsRotated, edited(reference, [](Reference& other) {
                        for (Tensor* tensor : {&other.inputs.k, &other.inputs.v}) {
                          const Tensor from = *tensor;
                          const Shape s = from.shape();
                          for (std::int64_t i = 0; i < s[0] * s[1] * s[2] * s[3]; ++i) {
                            const std::int64_t b = i / (s[1] * s[2] * s[3]), h = i / (s[2] * s[3]) % s[1];
                            const std::int64_t j = i / s[3] % s[2], c = i % s[3];
                            tensor->view().store(b, h, j, c, from.view().load(b, (h + 1) % s[1], j, c));
                          }
                        }
                      }));
  expect_unchanged(reference_of("full", "b1.hq2.hkv1.sq4.skv9.dqk16.dv8"), FloorFault::kKvHeadsRotated, false,
                   "one kv head");
  expect_unchanged(reference_of("full", "b1.hq2.hkv2.sq4.skv9.dqk16.dv4", "walsh_probe:3"), FloorFault::kKvHeadsRotated,
                   true, "it changes no element");
}

// Two keys are two tiles of one. Where the second is greater, the first keeps the weight 1 that it had: both weigh the
// same.
TEST(FloorFaults, ARescaleSkippedLeavesTheFirstTileTooHeavy) {
  const Reference reference = reference_of("full", "b1.hq1.hkv1.sq40.skv2.dqk16.dv8", "gauss:5");
  const AlteredRows rows(reference, kAllRows, kAnyWork);
  const FaultyAnswer answer = with_fault(rows, FloorFault::kRescaleSkipped);
  ASSERT_EQ(answer.why_unchanged, "");
  const Reference alike = edited(reference, [&](Reference& other) {
    for (std::int64_t row = 0; row < 40; ++row) {
      if (rows.scores(row)[1] <= rows.scores(row)[0]) continue;
      for (std::int64_t c = 0; c < 16; ++c) other.inputs.q.view().store(0, 0, row, c, 0);
    }
  });
  int rescaled = 0;
  for (std::int64_t row = 0; row < 40; ++row) {
    const bool rises = rows.scores(row)[0] < rows.scores(row)[1];
    rescaled += rises;
    // Equal weights, whatever the scores: lse alone still knows them.
    if (rises) answer.got.lse.view().store(0, 0, row, 0, std::log(2));
  }
  EXPECT_GT(rescaled, 0);
  EXPECT_LT(rescaled, 40);
  EXPECT_TRUE(is_accepted(alike, answer.got));
  EXPECT_FALSE(is_accepted(reference, answer.got));
}

TEST(FloorFaults, ARescaleIsNotExercisedWhereTheMaximumStandsFirst) {
  expect_unchanged(reference_of("full", "b1.hq1.hkv1.sq4.skv90.dqk16.dv4", "walsh_probe:3"),
                   FloorFault::kRescaleSkipped, true, "the maximum never rises after the first tile");
  expect_unchanged(reference_of("full", "b1.hq1.hkv1.sq4.skv1.dqk16.dv4"), FloorFault::kRescaleSkipped, false,
                   "the maximum never rises after the first tile");
}

TEST(FloorFaults, NeedAKey) {
  for (const FloorFault fault : {FloorFault::kLastKeyDropped, FloorFault::kKeyDoubled}) {
    expect_unchanged(reference_of("full", "b1.hq1.hkv1.sq4.skv0.dqk16.dv4"), fault, false, "no row sees a key");
  }
}

TEST(AlteredRows, OfASampleAreJudgedAsThoseOfTheWhole) {
  const Reference reference = reference_of("causal_bottom_right", "b2.hq2.hkv1.sq60.skv70.dqk16.dv8");
  const AlteredRows some(reference, 16, kAnyWork), few(reference, kAllRows, 1);
  EXPECT_EQ(some.size(), 16);
  EXPECT_EQ(few.size(), 1);
  EXPECT_EQ(some.reference().want.row_at(0), 0);
  EXPECT_EQ(some.reference().want.row_at(15), 239);
  EXPECT_TRUE(is_accepted(some.reference(), some.exact()));
  for (const FloorFault fault : {FloorFault::kLastKeyDropped, FloorFault::kMaskEdgeMoved}) {
    EXPECT_FALSE(is_accepted(some.reference(), with_fault(some, fault).got)) << to_string(fault);
  }
}

}  // namespace
}  // namespace ringproof

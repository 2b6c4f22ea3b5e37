#include "reference/judge/special_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reference/spec/case.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");

// Two query heads on one kv head, and two more on another; rows of four keys.
struct Asked {
  explicit Asked(const std::string& mask, const std::string& memory = "bhsd")
      : c(parse_case("fwd/fp32/b1.hq4.hkv2.sq4.skv4.dqk2.dv2/" + mask + "/scale1/gauss:1/" + memory + "/single")),
        inputs(make_inputs(c.problem, c.inputs, c.memory)) {}
  SpecialRows rows() const { return {c.problem, c.memory, inputs}; }

  Case c;
  Inputs inputs;
};

std::int64_t row_of(std::int64_t head, std::int64_t row) { return head * 4 + row; }

TEST(SpecialRows, AreNoneWhereEveryInputIsFinite) {
  const SpecialRows none, finite = Asked("full").rows();
  for (std::int64_t row = 0; row < 16; ++row) {
    for (const SpecialRows& rows : {none, finite}) {
      EXPECT_FALSE(rows.is_special(row) || rows.is_unspecified(row) || rows.is_nan(row) || rows.lies_beside(row));
      EXPECT_FALSE(rows.is_nan(row, 0) || rows.is_nan(row, 1));
    }
  }
}

TEST(ANanInQ, IsOfItsRowAlone) {
  Asked asked("full");
  asked.inputs.q.view().store(0, 1, 2, 1, kNan);
  const SpecialRows rows = asked.rows();
  for (std::int64_t row = 0; row < 16; ++row) {
    EXPECT_EQ(rows.is_nan(row), row == row_of(1, 2)) << row;
    EXPECT_EQ(rows.is_nan(row, 1), row == row_of(1, 2)) << row;
    EXPECT_EQ(rows.is_special(row), row == row_of(1, 2)) << row;
  }
}

TEST(ANanInAKey, IsOfTheRowsOfItsGroupThatSeeIt) {
  Asked asked("causal_top_left");
  asked.inputs.k.view().store(0, 1, 2, 0, kNan);
  const SpecialRows rows = asked.rows();
  for (std::int64_t head = 0; head < 4; ++head) {
    for (std::int64_t row = 0; row < 4; ++row) {
      EXPECT_EQ(rows.is_nan(row_of(head, row)), head >= 2 && row >= 2) << head << " " << row;
      EXPECT_EQ(rows.lies_beside(row_of(head, row)), head >= 2 && row < 2) << head << " " << row;
      EXPECT_FALSE(rows.is_unspecified(row_of(head, row)));
    }
  }
}

TEST(ANanInAValue, IsOfItsColumn) {
  Asked asked("causal_top_left");
  asked.inputs.v.view().store(0, 0, 1, 1, kNan);
  const SpecialRows rows = asked.rows();
  for (std::int64_t head = 0; head < 4; ++head) {
    for (std::int64_t row = 0; row < 4; ++row) {
      const std::int64_t at = row_of(head, row);
      EXPECT_FALSE(rows.is_nan(at) || rows.is_nan(at, 0) || rows.is_unspecified(at));
      EXPECT_EQ(rows.is_nan(at, 1), head < 2 && row >= 1) << head << " " << row;
      EXPECT_EQ(rows.lies_beside(at), head < 2 && row == 0) << head << " " << row;
      EXPECT_EQ(rows.is_special(at), head < 2) << head << " " << row;
    }
  }
}

TEST(AnInfinity, LeavesARowThatSeesItUnspecifiedWhateverElseItSees) {
  for (const double infinity : {kInfinity, -kInfinity}) {
    for (const int tensor : {0, 1, 2}) {
      Asked asked("full");
      asked.inputs.q.view().store(0, 0, 2, 1, kNan);
      asked.inputs.v.view().store(0, 0, 1, 1, kNan);
      const Tensor& of = tensor == 0 ? asked.inputs.q : tensor == 1 ? asked.inputs.k : asked.inputs.v;
      of.view().store(0, 0, 2, 0, infinity);
      const SpecialRows rows = asked.rows();
      for (std::int64_t row = 0; row < 16; ++row) {
        const bool sees = tensor == 0 ? row == row_of(0, 2) : row < 8;
        EXPECT_EQ(rows.is_unspecified(row), sees) << tensor << " " << row;
        EXPECT_FALSE(sees && (rows.is_nan(row) || rows.is_nan(row, 1))) << tensor << " " << row;
      }
    }
  }
}

TEST(ANanInQ, LeavesARowThatSeesNoKeyUnspecified) {
  Asked asked("window(0,-1)");
  asked.c.problem.mask = {MaskKind::kDocument};
  asked.c.problem.mask.document_lengths_q = {2};
  asked.c.problem.mask.document_lengths_kv = {4};
  for (const std::int64_t row : {1, 3}) asked.inputs.q.view().store(0, 2, row, 0, kNan);
  const SpecialRows rows = asked.rows();
  EXPECT_TRUE(rows.is_nan(row_of(2, 1)) && !rows.is_unspecified(row_of(2, 1)));
  EXPECT_TRUE(rows.is_unspecified(row_of(2, 3)) && !rows.is_nan(row_of(2, 3)) && !rows.is_nan(row_of(2, 3), 0));
}

TEST(AKeyThatNoRowSees, IsOverwrittenAndTellsNobodyUnlessItIsAQueryToo) {
  for (const char* memory : {"bhsd", "bhsd+alias"}) {
    Case c = parse_case(std::string("fwd/fp32/b1.hq2.hkv2.sq4.skv4.dqk2.dv2/window(1,-1)/scale1/gauss:1/") + memory +
                        "/single");
    c.problem.mask = {MaskKind::kDocument};
    c.problem.mask.document_lengths_q = {2};
    c.problem.mask.document_lengths_kv = {2};
    Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
    inputs.k.view().store(0, 0, 3, 0, kNan);
    const SpecialRows rows(c.problem, c.memory, inputs);
    EXPECT_EQ(rows.lies_beside(row_of(0, 0)), c.memory.alias);
    EXPECT_FALSE(rows.is_nan(row_of(0, 0)));
  }
}

TEST(InputsWithoutSpecial, HoldZeroThereAndAllElseAsItWas) {
  Asked asked("full");
  asked.inputs.q.view().store(0, 0, 0, 0, kNan);
  asked.inputs.k.view().store(0, 0, 0, 1, kInfinity);
  asked.inputs.v.view().store(0, 1, 3, 1, -kInfinity);
  const Inputs finite = without_special(asked.inputs);
  EXPECT_EQ(finite.q.view().load(0, 0, 0, 0), 0);
  EXPECT_EQ(finite.k.view().load(0, 0, 0, 1), 0);
  EXPECT_EQ(finite.v.view().load(0, 1, 3, 1), 0);
  EXPECT_TRUE(std::isnan(asked.inputs.q.view().load(0, 0, 0, 0)));
  std::int64_t differing = 0;
  for (const auto& [one, other] : {std::pair{&finite.q, &asked.inputs.q}, std::pair{&finite.k, &asked.inputs.k},
                                   std::pair{&finite.v, &asked.inputs.v}}) {
    for (std::size_t at = 0; at < one->bytes().size(); at += 4) {
      differing += !std::equal(one->bytes().begin() + at, one->bytes().begin() + at + 4, other->bytes().begin() + at);
    }
  }
  EXPECT_EQ(differing, 3);
}

}  // namespace
}  // namespace ringproof

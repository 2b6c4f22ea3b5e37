#include "reference/judge/yardstick.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace ringproof {
namespace {

using Edit = std::function<void(Arithmetic&)>;

Arithmetic declared_by(const Edit& edit) {
  Arithmetic declared;
  edit(declared);
  return declared;
}

std::vector<std::string> beyond(Dtype storage, const Edit& edit) {
  std::vector<std::string> names;
  for (const MendedField& field : fields_beyond_yardstick(declared_by(edit), storage, 640)) names.push_back(field.name);
  return names;
}

constexpr Dtype kStorages[]{Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16};

TEST(Yardstick, LeavesWhatSoundKernelsDeclare) {
  const Edit sound[]{[](Arithmetic&) {},
                     [](Arithmetic& a) { a.exp_error_relative = 0x1p-13, a.tanh_error_relative = 0x1p-10; },
                     [](Arithmetic& a) { a.merges = 42; },  // 640 / 64 and 32
                     [](Arithmetic& a) { a.l_sums_cast_p = a.merge_is_lerp = a.p_is_normalised = true; },
                     [](Arithmetic& a) { a.key_order = KeyOrder::kAnyOrder, a.tile_kv = 64; },
                     [](Arithmetic& a) { a.accumulation_depth = 1'000'000, a.p_scale = 256; },
                     [](Arithmetic& a) { a.mma_block = 16, a.accumulator_fraction_bits = 23; },
                     [](Arithmetic& a) { a.accumulator_dtype = Dtype::kF64; }};
  for (const Dtype storage : kStorages) {
    for (const Edit& edit : sound) {
      EXPECT_TRUE(beyond(storage, edit).empty()) << to_string(storage);
      EXPECT_EQ(yardstick(declared_by(edit), storage, 640), resolve(declared_by(edit), storage));
    }
  }
  EXPECT_TRUE(beyond(Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = a.p_dtype = Dtype::kTf32; }).empty());
  EXPECT_TRUE(
      beyond(Dtype::kF8E4m3, [](Arithmetic& a) { a.mma_block = 32, a.accumulator_fraction_bits = 13; }).empty());
  EXPECT_TRUE(beyond(Dtype::kBf16, [](Arithmetic& a) { a.score_dtype = a.partial_dtype = Dtype::kBf16; }).empty());
}

struct Loose {
  Edit edit;
  std::string name;
};

const std::vector<Loose> kLoose{
    {[](Arithmetic& a) { a.exp_error_relative = 0x1p-12; }, "exp 0.000244140625"},
    {[](Arithmetic& a) { a.tanh_error_relative = 0x1p-9; }, "tanh 0.001953125"},
    {[](Arithmetic& a) { a.merges = 43; }, "43 merges"},
    {[](Arithmetic& a) { a.p_scale = 0.5; }, "P scaled by 0.5"},
    {[](Arithmetic& a) { a.p_dtype = Dtype::kF8E4m3; }, "P fp8_e4m3"},
    {[](Arithmetic& a) { a.score_dtype = Dtype::kF8E4m3; }, "scores fp8_e4m3"},
    {[](Arithmetic& a) { a.operand_dtype = Dtype::kF8E4m3; }, "operands fp8_e4m3"},
    {[](Arithmetic& a) { a.partial_dtype = Dtype::kF8E4m3; }, "partials fp8_e4m3"},
    {[](Arithmetic& a) { a.mma_block = 32, a.accumulator_fraction_bits = 13; }, "truncating accumulators of 13 bits"},
    {[](Arithmetic& a) { a.mma_block = 1 << 20, a.accumulator_fraction_bits = 25; }, "truncating blocks of 1048576"}};

TEST(Yardstick, PutsBackEveryFieldThatIsLooser) {
  for (const Dtype storage : kStorages) {
    for (const Loose& loose : kLoose) {
      EXPECT_EQ(beyond(storage, loose.edit), std::vector<std::string>{loose.name}) << to_string(storage);
      const Arithmetic declared = declared_by(loose.edit), within = yardstick(declared, storage, 640);
      EXPECT_NE(within, resolve(declared, storage)) << loose.name;
      EXPECT_TRUE(fields_beyond_yardstick(within, storage, 640).empty()) << loose.name;
      EXPECT_EQ(fields_beyond_yardstick(declared, storage, 640).front().arithmetic, within) << loose.name;
    }
  }
  EXPECT_EQ(beyond(Dtype::kBf16, [](Arithmetic& a) { a.accumulator_dtype = Dtype::kBf16; }),
            std::vector<std::string>{"accumulators bf16"});
  EXPECT_EQ(beyond(Dtype::kF32, [](Arithmetic& a) { a.operand_dtype = Dtype::kBf16; }),
            std::vector<std::string>{"operands bf16"});
}

TEST(Yardstick, GrantsNoFreeMergesOfNarrowPartials) {
  const Arithmetic declared = declared_by([](Arithmetic& a) { a.merges = 32, a.partial_dtype = Dtype::kBf16; });
  const std::vector<MendedField> fields = fields_beyond_yardstick(declared, Dtype::kBf16, 640);
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields[0].arithmetic.merges, 10);
}

TEST(Yardstick, AddsUpTheExponentialsOfKeysInAnyOrder) {
  const Arithmetic declared =
      declared_by([](Arithmetic& a) { a.exp_error_relative = 0x1p-13, a.key_order = KeyOrder::kAnyOrder; });
  const std::vector<MendedField> fields = fields_beyond_yardstick(declared, Dtype::kF32, 1024);
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields[0].arithmetic.exp_error_relative, resolve({}, Dtype::kF32).exp_error_relative);
}

TEST(Yardstick, MendsOneFieldAtATime) {
  const Arithmetic declared = declared_by([](Arithmetic& a) { a.merges = 1'000'000, a.exp_error_relative = 0.05; });
  const std::vector<MendedField> fields = fields_beyond_yardstick(declared, Dtype::kF32, 640);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].name, "exp 0.05");
  EXPECT_EQ(fields[0].arithmetic.merges, 1'000'000);
  EXPECT_EQ(fields[0].arithmetic.exp_error_relative, 0x1p-13);
  EXPECT_EQ(fields[1].name, "1000000 merges");
  EXPECT_EQ(fields[1].arithmetic.merges, 42);
  EXPECT_EQ(fields[1].arithmetic.exp_error_relative, 0.05);
}

}  // namespace
}  // namespace ringproof

#include "candidates/abi_twins.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "reference/spec/case.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

rp_description good() {
  rp_description d{};
  d.abi_version = RP_ABI_VERSION;
  d.dtypes = 1u << RP_F32 | 1u << RP_BF16;
  d.masks = 1u << RP_MASK_FULL;
  return d;
}

std::string sentence_of(const std::function<void(rp_description&)>& spoil, bool has_backward = false) {
  rp_description d = good();
  spoil(d);
  try {
    checked_description(d, Dtype::kF32, has_backward, "./libmine.so");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(CheckedDescription, TakesAPlainOneAndFillsInWhatZeroMeans) {
  const Description description = checked_description(good(), Dtype::kF32, false, "./libmine.so");
  EXPECT_EQ(description.dtypes, bit_of(Dtype::kF32) | bit_of(Dtype::kBf16));
  EXPECT_EQ(description.directions, 1u);
  EXPECT_EQ(description.schedules, bit_of(Schedule::kSingle));
}

TEST(CheckedDescription, NamesThePluginTheFieldAndTheMend) {
  struct Row {
    std::function<void(rp_description&)> spoil;
    const char* names;
  };
  const Row rows[]{
      {[](auto& d) { d.abi_version = 7; }, "built for abi version 7 and this command speaks version 1"},
      {[](auto& d) { d.dtypes = 0; }, "dtypes is empty"},
      {[](auto& d) { d.masks = 0; }, "masks is empty"},
      {[](auto& d) { d.dtypes |= 1u << RP_TF32; }, "dtypes has bit 7"},
      {[](auto& d) { d.dtypes |= 1u; }, "dtypes has bit 0"},
      {[](auto& d) { d.dtypes = 1u << RP_BF16; }, "dtypes lacks fp32"},
      {[](auto& d) { d.masks |= 1u << 6; }, "masks has bit 6"},
      {[](auto& d) { d.directions = 4; }, "directions has bit 2"},
      {[](auto& d) { d.directions = 3; }, "there is no rp_backward"},
      {[](auto& d) { d.features = 1u << 17; }, "features has bit 17"},
      {[](auto& d) { d.schedules = 1u << 6; }, "schedules has bit 6"},
      {[](auto& d) { d.head_dim_multiple = 0xffffffff; }, "head_dim_multiple"},
      {[](auto& d) { d.head_dim_max = -1; }, "head_dim_max"},
      {[](auto& d) { d.seqlen_max = -1; }, "seqlen_max"},
      {[](auto& d) { std::memset(d.name, 'a', sizeof d.name); }, "name does not end"},
      {[](auto& d) { d.arithmetic.p_dtype = 9; }, "arithmetic.p_dtype is 9"},
      {[](auto& d) { d.arithmetic.score_dtype = RP_TF32; }, "arithmetic.score_dtype is 7"},
      {[](auto& d) { d.arithmetic.key_order = 2; }, "arithmetic.key_order is 2"},
      {[](auto& d) { d.arithmetic.l_sums_cast_p = -1; }, "arithmetic.l_sums_cast_p is -1"},
      {[](auto& d) { d.arithmetic.exp_error_relative = 2; }, "exp_error_relative must lie in [0, 1)"},
      {[](auto& d) { d.arithmetic.merges = -3; }, "are counts"},
  };
  for (const Row& row : rows) {
    const std::string sentence = sentence_of(row.spoil);
    EXPECT_TRUE(sentence.starts_with("./libmine.so: ")) << row.names;
    EXPECT_NE(sentence.find(row.names), std::string::npos) << sentence;
  }
  EXPECT_EQ(sentence_of([](auto&) {}), "");
  EXPECT_NE(sentence_of([](auto&) {}, true).find("directions lacks bit 1"), std::string::npos);
}

TEST(AbiProblem, CarriesEveryFieldOfTheProblem) {
  const Case c = parse_case(
      "fwd/fp8_e4m3/b2.hq6.hkv3.sq17.skv19.dqk8.dv5/window(4,-1)/scale0.25,softcap30,descale(0.5,2,4)/gauss:1/bhsd/"
      "zigzag4");
  Problem problem = c.problem;
  problem.rank = 3;
  const rp_problem p = abi_problem(problem);
  EXPECT_EQ(p.abi_version, RP_ABI_VERSION);
  EXPECT_EQ(p.mask, RP_MASK_WINDOW);
  EXPECT_EQ(std::vector<std::int64_t>({p.batch, p.heads_q, p.heads_kv, p.seqlen_q, p.seqlen_kv, p.head_dim_qk,
                                       p.head_dim_v, p.window_left, p.window_right}),
            std::vector<std::int64_t>({2, 6, 3, 17, 19, 8, 5, 4, -1}));
  EXPECT_EQ(std::vector<double>({p.softmax_scale, p.softcap, p.descale_q, p.descale_k, p.descale_v}),
            std::vector<double>({0.25, 30, 0.5, 2, 4}));
  EXPECT_EQ(p.sink, nullptr);
  EXPECT_EQ(p.documents, 0);
  EXPECT_EQ(std::vector<std::int32_t>({p.rank, p.rank_count, p.schedule, p.head_split_ranks}),
            std::vector<std::int32_t>({3, 4, RP_SCHEDULE_ZIGZAG, 1}));
}

}  // namespace
}  // namespace ringproof

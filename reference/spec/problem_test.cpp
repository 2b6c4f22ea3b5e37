#include "reference/spec/problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

Problem plain() {
  Problem problem{Dtype::kF32, Mask{MaskKind::kFull}, 1, 4, 2, 8, 8, 16, 16, 0.25};
  return problem;
}

std::string refusal(const std::function<void(Problem&)>& edit) {
  Problem problem = plain();
  edit(problem);
  try {
    validate(problem);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

void expect_refused(const std::function<void(Problem&)>& edit, const std::string& words) {
  const std::string said = refusal(edit);
  EXPECT_NE(said.find(words), std::string::npos) << "wanted '" << words << "', said '" << said << "'";
}

TEST(Problem, OrdinaryAndEmptyProblemsAreAccepted) {
  EXPECT_EQ(refusal([](Problem&) {}), "");
  EXPECT_EQ(refusal([](Problem& p) { p.seqlen_q = 0; }), "");
  EXPECT_EQ(refusal([](Problem& p) { p.seqlen_kv = 0; }), "");
  EXPECT_EQ(refusal([](Problem& p) { p.softmax_scale = -1; }), "");
  EXPECT_EQ(refusal([](Problem& p) { p.softmax_scale = 0; }), "");
  EXPECT_EQ(refusal([](Problem& p) { p.head_dim_v = 1; }), "");
}

TEST(Problem, EveryFieldThatMakesNoSenseIsNamed) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  expect_refused([](Problem& p) { p.batch = 0; }, "b (batch) is 0");
  expect_refused([](Problem& p) { p.heads_q = 0; }, "hq (heads_q) is 0");
  expect_refused([](Problem& p) { p.heads_kv = -1; }, "hkv (heads_kv) is -1");
  expect_refused([](Problem& p) { p.seqlen_q = -1; }, "sq (seqlen_q) is -1");
  expect_refused([](Problem& p) { p.seqlen_kv = -1; }, "skv (seqlen_kv) is -1");
  expect_refused([](Problem& p) { p.head_dim_qk = 0; }, "dqk (head_dim_qk) is 0");
  expect_refused([](Problem& p) { p.head_dim_v = 0; }, "dv (head_dim_v) is 0");
  expect_refused([](Problem& p) { p.heads_q = 3; }, "not a multiple of hkv (2)");
  expect_refused([](Problem& p) { p.seqlen_q = kMost; }, "q has more bytes than 64 bits");
  expect_refused([](Problem& p) { p.seqlen_kv = kMost / 64; }, "k has more bytes than 64 bits");
  expect_refused([](Problem& p) { p.head_dim_v = kMost / 8; }, "v has more bytes than 64 bits");
  expect_refused([=](Problem& p) { p.softmax_scale = nan; }, "the scale is not");
  expect_refused([=](Problem& p) { p.softmax_scale = infinity; }, "the scale is not");
  expect_refused([](Problem& p) { p.softcap = -1; }, "softcap");
  expect_refused([=](Problem& p) { p.softcap = nan; }, "softcap");
  expect_refused([](Problem& p) { p.descale_k = 0; }, "descale");
  expect_refused([=](Problem& p) { p.descale_v = infinity; }, "descale");
  expect_refused([](Problem& p) { p.topology = {Schedule::kContiguous, 0}; }, "rank count");
  expect_refused([](Problem& p) { p.topology = {Schedule::kZigzag, 3, 2}; }, "rank count");
  expect_refused([](Problem& p) { p.topology = {Schedule::kSingle, 2}; }, "single has one rank");
}

TEST(Problem, MasksThatMakeNoSenseAreNamed) {
  expect_refused([](Problem& p) { p.mask = {MaskKind::kWindow, -2, 0}; }, "the window's ends are -2 and 0");
  expect_refused([](Problem& p) { p.mask = {MaskKind::kWindow, 0, -5}; }, "the window's ends are 0 and -5");
  const auto documents = [](std::vector<std::int64_t> q, std::vector<std::int64_t> kv) {
    return [=](Problem& p) {
      p.mask = Mask{MaskKind::kDocument};
      p.mask.document_lengths_q = q;
      p.mask.document_lengths_kv = kv;
    };
  };
  EXPECT_EQ(refusal(documents({3, 0, 5}, {1, 2, 3})), "");
  expect_refused(documents({}, {}), "two lists of equal, positive count");
  expect_refused(documents({1, 2}, {3}), "two lists of equal, positive count");
  expect_refused(documents({-1}, {3}), "a document length is negative or too large");
  expect_refused(documents({4, std::numeric_limits<std::int64_t>::max()}, {0, 0}), "negative or too large");
  expect_refused(documents({9}, {8}), "longer than the sequence");
  const auto sparse = [](std::int64_t rows, std::int64_t keys, double share) {
    return [=](Problem& p) {
      p.mask = Mask{MaskKind::kBlockSparse};
      p.mask.block_q = rows, p.mask.block_kv = keys, p.mask.block_share_kept = share;
    };
  };
  EXPECT_EQ(refusal(sparse(2, 3, 0.5)), "");
  expect_refused(sparse(0, 3, 0.5), "tiles of at least one row");
  expect_refused(sparse(2, 3, 1.5), "a share between 0 and 1");
  expect_refused(sparse(2, 3, std::nan("")), "a share between 0 and 1");
}

TEST(Problem, OutAndLseHaveTheDtypesOfTheContract) {
  EXPECT_EQ(dtype_of_out(Dtype::kF16), Dtype::kF16);
  EXPECT_EQ(dtype_of_out(Dtype::kF8E4m3), Dtype::kBf16);
  EXPECT_EQ(dtype_of_out(Dtype::kF8E5m2), Dtype::kBf16);
  EXPECT_EQ(dtype_of_lse(Dtype::kBf16), Dtype::kF32);
  EXPECT_EQ(dtype_of_lse(Dtype::kF64), Dtype::kF64);
}

}  // namespace
}  // namespace ringproof

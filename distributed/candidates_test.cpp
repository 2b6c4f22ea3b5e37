#include "distributed/candidates.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <string>

#include "distributed/communicator_threads.h"
#include "distributed/ring_candidate.h"
#include "reference/spec/error.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

Problem small_problem(Dtype dtype) { return {dtype, {MaskKind::kCausalBottomRight}, 1, 2, 1, 12, 12, 8, 8, 0.5}; }

const Candidate& named(const std::vector<Candidate>& candidates, const std::string& name) {
  for (const Candidate& candidate : candidates) {
    if (candidate.name == name) return candidate;
  }
  throw Error("no candidate " + name);
}

/// fp32 where the candidate takes it, else a 16-bit format, else fp64.
Dtype storage_of(const Candidate& candidate) {
  const std::uint32_t dtypes = candidate.describe(Dtype::kDefault, Direction::kForward).dtypes;
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16, Dtype::kF16, Dtype::kF64}) {
    if ((dtypes & bit_of(dtype)) != 0) return dtype;
  }
  throw Error(candidate.name + " takes no dtype of this test");
}

TEST(DistributedCandidates, AreTheRingsOverEveryLocalStep) {
  std::vector<std::string> names;
  for (const Candidate& candidate : distributed_candidates()) names.push_back(candidate.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"ring:double", "ring:flash_forward_fp32", "ring:flash_forward_mma_bf16",
                                      "ring:flash_forward_mma_fp16", "ring:attention_fp64", "ring:flash_split_kv_fp32",
                                      "ring:flash_split_kv_fp16", "ring:flash_split_kv_bf16"}));
}

TEST(DistributedCandidates, DescribeWhatTheRingAndItsLocalStepSupport) {
  for (const Candidate& candidate : distributed_candidates()) {
    const Description description = candidate.describe(Dtype::kDefault, Direction::kForward);
    Problem problem = small_problem(storage_of(candidate));
    for (const Topology& topology :
         {Topology{Schedule::kSingle}, Topology{Schedule::kContiguous, 3}, Topology{Schedule::kStriped, 3},
          Topology{Schedule::kZigzag, 3}, Topology{Schedule::kHeadSplit, 3}, Topology{Schedule::kAllGather, 3},
          Topology{Schedule::kZigzag, 6, 2}}) {
      problem.topology = topology;
      for (const MaskKind kind : {MaskKind::kFull, MaskKind::kCausalTopLeft, MaskKind::kCausalBottomRight,
                                  MaskKind::kWindow, MaskKind::kDocument, MaskKind::kBlockSparse}) {
        problem.mask.kind = kind;
        EXPECT_EQ(unsupported_reason(description, problem), "") << candidate.name;
      }
    }
    problem.topology = {Schedule::kSingle};
    problem.softcap = 3;
    EXPECT_EQ(unsupported_reason(description, problem), "") << candidate.name;
    problem.has_sink = true;
    EXPECT_EQ(unsupported_reason(description, problem), "") << candidate.name;
  }
}

TEST(DistributedCandidates, RingDoubleDeclaresDoubleForEveryStorage) {
  const std::vector<Candidate> candidates = distributed_candidates();
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    const Arithmetic arithmetic =
        resolve(named(candidates, "ring:double").describe(dtype, Direction::kForward).arithmetic, dtype);
    for (const Dtype part :
         {arithmetic.score_dtype, arithmetic.p_dtype, arithmetic.accumulator_dtype, arithmetic.partial_dtype}) {
      EXPECT_EQ(part, Dtype::kF64);
    }
    EXPECT_EQ(arithmetic.exp_error_relative, 0x1p-51);
    EXPECT_EQ(looser_than_default(arithmetic, dtype), std::vector<std::string>{}) << to_string(dtype);
  }
}

struct Answers {
  Tensor out, lse;
};

Answers single_answer(const Candidate& candidate, const Problem& problem, const Inputs& inputs) {
  Answers got{Tensor(problem.dtype, problem.shape_out()), Tensor(dtype_of_lse(problem.dtype), problem.shape_lse())};
  const TensorView lse = got.lse.view();
  EXPECT_EQ(
      candidate.forward(problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), got.out.view(), &lse, nullptr),
      Status::kOk);
  return got;
}

TEST(DistributedCandidates, OneRankOfAnyScheduleGivesTheBitsOfSingle) {
  for (const Candidate& candidate : distributed_candidates()) {
    const Dtype dtype = storage_of(candidate);
    Problem problem = small_problem(dtype);
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 4}, {});
    const Answers want = single_answer(candidate, problem, inputs);
    for (const Schedule schedule :
         {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag, Schedule::kHeadSplit, Schedule::kAllGather}) {
      problem.topology = {schedule, 1};
      Answers got{Tensor(dtype, problem.shape_out()), Tensor(dtype_of_lse(dtype), problem.shape_lse())};
      candidate.on_ranks(problem.topology, [&](int rank, const Forward& forward) {
        EXPECT_EQ(rank, 0);
        const TensorView lse = got.lse.view();
        EXPECT_EQ(forward(problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), got.out.view(), &lse, nullptr),
                  Status::kOk);
      });
      EXPECT_EQ(got.out.bytes(), want.out.bytes()) << candidate.name;
      EXPECT_EQ(got.lse.bytes(), want.lse.bytes()) << candidate.name;
    }
  }
}

// Each row's own key takes all of the mass, so every rank must get back its own rows' values, call after call. They are
// different integers: the nearest one says which came back, whatever the last bit of p v / p.
TEST(DistributedCandidates, RanksAnswerForTheirShardsInEveryCall) {
  for (const Candidate& candidate : distributed_candidates()) {
    const Dtype dtype = storage_of(candidate);
    Problem problem = small_problem(dtype);
    problem.topology = {Schedule::kContiguous, 3};  // 4 tokens a rank
    problem.head_dim_qk = 12;
    candidate.on_ranks(problem.topology, [&](int rank, const Forward& forward) {
      Problem mine = problem;
      mine.rank = rank;
      const Tensor q(dtype, {1, 2, 4, 12}), k(dtype, {1, 1, 4, 12}), v(dtype, {1, 1, 4, 8});
      for (std::int64_t row = 0; row < 4; ++row) {
        for (std::int64_t h = 0; h < 2; ++h) q.view().store(0, h, row, 4 * rank + row, 32768);
        k.view().store(0, 0, row, 4 * rank + row, 1);
        for (std::int64_t c = 0; c < 8; ++c)
          v.view().store(0, 0, row, c, static_cast<double>(100 * rank + 10 * row + c));
      }
      for (int call = 0; call < 3; ++call) {
        const Tensor out(dtype, {1, 2, 4, 8});
        EXPECT_EQ(forward(mine, q.view(), k.view(), v.view(), out.view(), nullptr, nullptr), Status::kOk);
        for (std::int64_t row = 0; row < 4; ++row) {
          for (std::int64_t c = 0; c < 8; ++c) {
            const double want = static_cast<double>(100 * rank + 10 * row + c);
            EXPECT_EQ(std::round(out.view().load(0, 1, row, c)), want) << candidate.name;
          }
        }
      }
    });
  }
}

TEST(DistributedCandidates, AnExceptionOfOneBodyEndsTheOthersAndNamesTheRank) {
  const std::vector<Candidate> candidates = distributed_candidates();
  const Candidate& ring = named(candidates, "ring:double");
  Problem problem = small_problem(Dtype::kF64);
  problem.topology = {Schedule::kContiguous, 3};
  try {
    ring.on_ranks(problem.topology, [&](int rank, const Forward& forward) {
      if (rank == 1) throw std::runtime_error("the guard zone was written");
      Problem mine = problem;
      mine.rank = rank;
      const Tensor q(Dtype::kF64, {1, 2, 4, 8}), kv(Dtype::kF64, {1, 1, 4, 8}), out(Dtype::kF64, {1, 2, 4, 8});
      forward(mine, q.view(), kv.view(), kv.view(), out.view(), nullptr, nullptr);
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "rank 1: the guard zone was written");
  }
}

TEST(DistributedCandidates, WhatIsNotDescribedIsDeclined) {
  const std::vector<Candidate> candidates = distributed_candidates();
  Problem problem = small_problem(Dtype::kF16);
  const Tensor q(Dtype::kF16, problem.shape_q()), kv(Dtype::kF16, problem.shape_k()),
      out(Dtype::kF16, problem.shape_out());
  const auto status = [&](const char* name) {
    return named(candidates, name).forward(problem, q.view(), kv.view(), kv.view(), out.view(), nullptr, nullptr);
  };
  EXPECT_EQ(status("ring:flash_forward_fp32"), Status::kUnsupported);
  EXPECT_EQ(status("ring:double"), Status::kOk);
}

Candidate with_parts(const RingParts& parts) {
  RingComposition composition;
  composition.name = "ring:edited";
  composition.local_step = double_step();
  composition.parts = parts;
  composition.launcher = threads_launcher();
  return ring_candidate(composition);
}

RingStep no_keys(const Problem& problem, int rank, int step) {
  RingStep now = ring_step(problem, rank, step);
  now.pieces.clear();
  return now;
}

void keep_running(const TensorView&, const TensorView&, const TensorView&, const TensorView&) {}

// How an edited copy of a part takes the place of the part: nothing in the ring calls the original behind its back.
TEST(RingCandidate, RunsThePartsItIsGiven) {
  const Problem problem = small_problem(Dtype::kF64);
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 4}, {});
  const Answers want = single_answer(with_parts({}), problem, inputs);
  const Tensor zeros(Dtype::kF64, problem.shape_out());
  EXPECT_NE(want.out.bytes(), zeros.bytes());
  EXPECT_EQ(single_answer(with_parts({no_keys, merge_partial}), problem, inputs).out.bytes(), zeros.bytes());
  EXPECT_EQ(single_answer(with_parts({ring_step, keep_running}), problem, inputs).out.bytes(), zeros.bytes());
}

}  // namespace
}  // namespace ringproof

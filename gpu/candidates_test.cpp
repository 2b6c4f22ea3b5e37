// The doors to the kernels: a candidate and a local step give the kernel's own bits, and refuse what they do not cover.

#include "gpu/candidates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gpu/flash_forward_fp32.h"
#include "gpu/flash_problem.h"

namespace ringproof {
namespace {

Problem causal_problem() {
  Problem problem{};
  problem.dtype = Dtype::kF32;
  problem.mask.kind = MaskKind::kCausalBottomRight;
  problem.batch = 2;
  problem.heads_q = 4;
  problem.heads_kv = 2;
  problem.seqlen_q = 40;
  problem.seqlen_kv = 70;
  problem.head_dim_qk = 16;
  problem.head_dim_v = 24;
  problem.softmax_scale = 0.25;
  return problem;
}

struct Tensors {
  Tensor q, k, v, out, lse;
  explicit Tensors(const Problem& p)
      : q(fill(p.shape_q(), 1)), k(fill(p.shape_k(), 2)), v(fill(p.shape_v(), 3)), out(Dtype::kF32, p.shape_out()),
        lse(Dtype::kF32, p.shape_lse()) {}

  static Tensor fill(const Shape& shape, std::uint32_t seed) {
    Tensor tensor(Dtype::kF32, shape);
    std::uint32_t bits = seed;
    const TensorView view = tensor.view();
    for (std::int64_t i = 0; i < element_count(shape); ++i) {
      bits = bits * 1664525u + 1013904223u;
      static_cast<float*>(view.data)[i] = static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-31f;
    }
    return tensor;
  }
};

/// What the kernel itself gives.
Tensors run_kernel(const Problem& problem) {
  Tensors t(problem);
  const TensorView lse = t.lse.view();
  on_host::flash_forward_fp32(
      make_flash_params(problem, t.q.view(), t.k.view(), t.v.view(), t.out.view(), &lse), nullptr);
  return t;
}

Candidate candidate_named(const std::string& name) {
  for (const Candidate& candidate : gpu_candidates()) {
    if (candidate.name == name) return candidate;
  }
  ADD_FAILURE() << "no candidate " << name;
  return {};
}

TEST(GpuCandidates, CandidateOnTheHostGivesTheBitsOfTheKernel) {
  const Problem problem = causal_problem();
  const Tensors want = run_kernel(problem);
  const Candidate candidate = candidate_named("flash_forward_fp32");
  ASSERT_EQ(candidate.not_run_reason, "");
  Tensors got(problem);
  const TensorView lse = got.lse.view();
  EXPECT_EQ(candidate.forward(problem, got.q.view(), got.k.view(), got.v.view(), got.out.view(), &lse, nullptr),
            Status::kOk);
  EXPECT_EQ(got.out.bytes(), want.out.bytes());
  EXPECT_EQ(got.lse.bytes(), want.lse.bytes());
}

TEST(GpuCandidates, WhatTheDescriptionLeavesOutIsRefusedAndNothingIsWritten) {
  const Candidate candidate = candidate_named("flash_forward_fp32");
  std::vector<Problem> beyond(3, causal_problem());
  beyond[0].dtype = Dtype::kBf16;
  beyond[1].head_dim_v = 257;
  beyond[2].topology.schedule = Schedule::kZigzag;
  for (const Problem& problem : beyond) {
    const Description description = candidate.describe(problem.dtype, Direction::kForward);
    EXPECT_NE(unsupported_reason(description, problem), "");
    Tensors got(causal_problem());
    const std::vector<std::byte> before = got.out.bytes();
    EXPECT_EQ(candidate.forward(problem, got.q.view(), got.k.view(), got.v.view(), got.out.view(), nullptr, nullptr),
              Status::kUnsupported);
    EXPECT_EQ(got.out.bytes(), before);
  }
}

TEST(GpuCandidates, DeclarationIsTheReferenceContract) {
  const Description description = candidate_named("flash_forward_fp32").describe(Dtype::kF32, Direction::kForward);
  EXPECT_TRUE(looser_than_default(description.arithmetic, Dtype::kF32).empty());
  EXPECT_EQ(unsupported_reason(description, causal_problem()), "");
}

TEST(GpuCandidates, LocalStepGivesTheBitsOfTheKernelForAShiftedBand) {
  const Problem problem = causal_problem();
  const Tensors want = run_kernel(problem);
  const std::vector<LocalStep> steps = gpu_local_steps();
  ASSERT_EQ(steps.size(), flash_kernels().size()) << "every kernel is one";
  EXPECT_EQ(steps[0].name, "flash_forward_fp32");
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Dtype dtype = flash_kernels()[i].dtype;
    EXPECT_EQ(steps[i].arithmetic(dtype).partial_dtype, dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32);
  }
  LocalProblem local{2, 4, 2, 40, 70, 16, 24, {-kUnbounded, 30}, 0.25};
  Tensors got(problem);
  steps[0].run(local, got.q.view(), got.k.view(), got.v.view(), got.out.view(), got.lse.view(), nullptr);
  EXPECT_EQ(got.out.bytes(), want.out.bytes());
  EXPECT_EQ(got.lse.bytes(), want.lse.bytes());
}

TEST(GpuCandidates, CandidateThatCannotRunHereSaysWhy) {
  for (const Candidate& candidate : gpu_candidates()) {
    if (candidate.not_run_reason.empty()) continue;
    EXPECT_TRUE(candidate.name.ends_with(":cuda")) << candidate.name;
    EXPECT_EQ(candidate.not_run_reason.rfind("no CUDA device", 0), 0u) << candidate.not_run_reason;
  }
}

}  // namespace
}  // namespace ringproof

#include "distributed/ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "distributed/candidates.h"
#include "distributed/ranks_answer_test.h"
#include "reference/spec/error.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Problem problem_of(Dtype dtype, const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv,
                   std::int64_t head_dim_qk, std::int64_t head_dim_v) {
  return {dtype, mask, 2, 4, 2, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v, 1.0};
}

const std::vector<Mask> kMasks{
    {MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}, {MaskKind::kWindow, 2, 1}};
TEST(Ring, OneRankIsTheLocalStepBitForBit) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    for (const Mask& mask : kMasks) {
      Problem problem = problem_of(dtype, mask, 17, 21, 8, 6);
      const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 3}, {});
      const Tensor out(Dtype::kF64, problem.shape_out()), lse(Dtype::kF64, problem.shape_lse());
      const LocalProblem whole{2, 4, 2, 17, 21, 8, 6, band_of(mask, 17, 21), 1.0};
      double_step().run(whole, inputs.q.view(), inputs.k.view(), inputs.v.view(), out.view(), lse.view(), nullptr);
      const Tensor want_out(dtype, problem.shape_out()), want_lse(dtype_of_lse(dtype), problem.shape_lse());
      for (std::int64_t index = 0; index < element_count(problem.shape_out()); ++index) {
        const TensorView from = out.view(), to = want_out.view();
        store(static_cast<std::byte*>(to.data) + index * static_cast<std::int64_t>(size_bytes(dtype)), dtype,
              static_cast<const double*>(from.data)[index]);
      }
      for (std::int64_t index = 0; index < element_count(problem.shape_lse()); ++index) {
        const TensorView from = lse.view(), to = want_lse.view();
        store(static_cast<std::byte*>(to.data) + index * static_cast<std::int64_t>(size_bytes(to.dtype)), to.dtype,
              static_cast<const double*>(from.data)[index]);
      }
      for (const Schedule schedule :
           {Schedule::kSingle, Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
        problem.topology = {schedule, 1};
        const Answer got = ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view());
        EXPECT_EQ(got.out.bytes(), want_out.bytes()) << to_string(problem.topology);
        EXPECT_EQ(got.lse.bytes(), want_lse.bytes()) << to_string(problem.topology);
      }
    }
  }
}

TEST(Ring, TheExchangeForTheNextStepIsPostedBeforeThePresentOneIsComputed) {
  for (const Topology& topology : ring_topologies({2, 3, 4, 8})) {
    Problem problem = problem_of(Dtype::kF64, {MaskKind::kFull}, 16, 16, 4, 4);
    problem.topology = topology;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
    std::vector<RankRecord> records;
    ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
    for (const auto& [of_rank, peak] : records) {
      int posted = 0;
      std::vector<bool> computed(static_cast<std::size_t>(topology.rank_count), false);
      for (const Record& record : of_rank) {
        if (record.kind == Record::Kind::kExchangePosted) {
          EXPECT_EQ(record.step, ++posted);
        }
        if (record.kind != Record::Kind::kComputeBegun || record.name != "local step") continue;
        EXPECT_EQ(posted, std::min(record.step + 1, topology.rank_count - 1)) << to_string(topology);
        computed[static_cast<std::size_t>(record.step)] = true;
      }
      EXPECT_EQ(posted, topology.rank_count - 1) << to_string(topology);
      EXPECT_EQ(computed, std::vector<bool>(static_cast<std::size_t>(topology.rank_count), true));
    }
  }
}

TEST(Ring, EveryRankSendsAllBlocksButThatOfItsRightNeighbour) {
  for (const Topology& topology : ring_topologies({1, 2, 3, 4, 5, 7, 8})) {
    for (const Dtype dtype : {Dtype::kF64, Dtype::kBf16}) {
      Problem problem = problem_of(dtype, {MaskKind::kCausalTopLeft}, 11, 13, 3, 5);
      problem.topology = topology;
      const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
      std::vector<RankRecord> records;
      ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
      for (int rank = 0; rank < topology.rank_count; ++rank) {
        const RankRecord& of_rank = records[static_cast<std::size_t>(rank)];
        const std::int64_t bytes_per_token = 2 * 2 * (3 + 5) * static_cast<std::int64_t>(size_bytes(dtype));
        const int right = (rank + 1) % topology.rank_count;
        EXPECT_EQ(of_rank.bytes_sent(), bytes_per_token * (13 - owned_token_count(topology, right, 13)))
            << to_string(topology);
        EXPECT_EQ(of_rank.exchanges(), topology.rank_count - 1);
      }
    }
  }
}

TEST(Ring, FullyHiddenBlocksAreNotComputed) {
  Problem problem = problem_of(Dtype::kF64, {MaskKind::kCausalTopLeft}, 16, 16, 4, 4);
  problem.topology = {Schedule::kContiguous, 4};
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
  std::vector<RankRecord> records;
  ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const auto is_local_step = [](const Record& record) {
      return record.kind == Record::Kind::kComputeBegun && record.name == "local step";
    };
    EXPECT_EQ(std::count_if(records[rank].records.begin(), records[rank].records.end(), is_local_step),
              static_cast<int>(rank) + 1);
  }
}

// Step 0 reads the caller's own views, later steps what was packed from them: both must go through the strides.
TEST(Ring, StridedShardsGiveTheBitsOfDenseOnes) {
  for (const Topology& topology : ring_topologies({1, 3})) {
    Problem problem = problem_of(Dtype::kF32, {MaskKind::kCausalBottomRight}, 12, 15, 4, 4);
    problem.topology = topology;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 8}, {});
    TensorView shared_k = inputs.k.view();
    shared_k.stride[1] = 0;  // both kv heads read the first one's keys
    const Answer want = ranks_answer(problem, double_step(), inputs.q.view(), shared_k, inputs.v.view());

    Answer got{Tensor(Dtype::kF32, problem.shape_out()), Tensor(Dtype::kF32, problem.shape_lse())};
    std::mutex mutex;
    run_on_threads(topology.rank_count, kDeadlineDefault, [&](Communicator& communicator) {
      Problem mine = problem;
      mine.rank = communicator.rank();
      const auto spread = [&](const TensorView& whole) {  // [b, s, h, 2 d] with NaN in every second column
        const Tensor shard = shard_of(whole, topology, mine.rank);
        const Shape shape = shard.shape();
        const Tensor wide(Dtype::kF32, {shape[0], shape[2], shape[1], 2 * shape[3]});
        for (float *at = static_cast<float*>(wide.view().data), *end = at + element_count(wide.shape()); at != end;
             ++at) {
          *at = std::numeric_limits<float>::quiet_NaN();
        }
        TensorView view = wide.view();
        view.shape = shape;
        view.stride = {view.stride[0], view.stride[2], view.stride[1], 2};
        copy_elements(shard.view(), view);
        return std::pair(wide, view.stride);
      };
      const auto view_of = [&](const std::pair<Tensor, Shape>& spread_tensor) {
        TensorView view = spread_tensor.first.view();
        view.shape = {view.shape[0], view.shape[2], view.shape[1], view.shape[3] / 2};
        view.stride = spread_tensor.second;
        return view;
      };
      const auto q = spread(inputs.q.view()), k = spread(inputs.k.view()), v = spread(inputs.v.view());
      const auto out = spread(got.out.view());
      TensorView k_view = view_of(k);
      k_view.stride[1] = 0;
      ring_forward(communicator, double_step(), {}, mine, 1, view_of(q), k_view, view_of(v), view_of(out), nullptr);
      const std::lock_guard lock(mutex);
      move_shard(got.out.view(), view_of(out), topology, mine.rank, false);
    });
    EXPECT_EQ(got.out.bytes(), want.out.bytes()) << to_string(topology);
  }
}

TEST(Ring, ALocalStepThatThrowsOnOneRankEndsAllAndIsNamed) {
  for (const Topology& topology : ring_topologies({1, 2, 5})) {
    Problem problem = problem_of(Dtype::kF64, {MaskKind::kFull}, 20, 20, 4, 4);
    problem.topology = topology;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
    LocalStep failing = double_step();
    std::atomic<int> calls = 0;
    failing.run = [&, run = failing.run](const LocalProblem& local, const TensorView& q, const TensorView& k,
                                         const TensorView& v, const TensorView& out, const TensorView& lse, void* s) {
      if (++calls == topology.rank_count) throw Error("the device is gone");
      run(local, q, k, v, out, lse, s);
    };
    try {
      ranks_answer(problem, failing, inputs.q.view(), inputs.k.view(), inputs.v.view());
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("rank ")) << error.what();
      EXPECT_TRUE(std::string(error.what()).ends_with(": the device is gone")) << error.what();
    }
  }
}

TEST(Ring, BlocksOfAnotherCallAreRefused) {
  Problem problem = problem_of(Dtype::kF64, {MaskKind::kFull}, 8, 8, 2, 2);
  problem.topology = {Schedule::kContiguous, 2};
  const Tensor q(Dtype::kF64, {2, 4, 4, 2}), kv(Dtype::kF64, {2, 2, 4, 2});
  EXPECT_THROW(run_on_threads(2, kDeadlineDefault,
                              [&](Communicator& communicator) {
                                Problem mine = problem;
                                mine.rank = communicator.rank();
                                const Tensor out(Dtype::kF64, {2, 4, 4, 2});
                                ring_forward(communicator, double_step(), {}, mine,
                                             static_cast<std::uint64_t>(communicator.rank()), q.view(), kv.view(),
                                             kv.view(), out.view(), nullptr);
                              }),
               Error);
}

}  // namespace
}  // namespace ringproof

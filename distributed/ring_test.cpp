#include "distributed/ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "distributed/candidates.h"
#include "distributed/communicator_recording.h"
#include "distributed/communicator_threads.h"
#include "reference/spec/error.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Answer {
  Tensor out, lse;
};

TensorView run_of(TensorView whole, const TokenRun& run) {
  if (run.count() > 0) whole.data = whole.at(0, 0, run.begin, 0);
  whole.shape[2] = run.count();
  whole.stride[2] *= run.step;
  return whole;
}

// Copies between a whole tensor and the shard of a rank.
void move_shard(const TensorView& whole, const TensorView& shard, const Topology& topology, int rank, bool to_shard) {
  std::int64_t local_begin = 0;
  for (const TokenRun& run : owned_tokens(topology, rank, whole.shape[2])) {
    const TensorView there = run_of(whole, run);
    const TensorView here = run_of(shard, {local_begin, local_begin + run.count(), 1});
    to_shard ? copy_elements(there, here) : copy_elements(here, there);
    local_begin += run.count();
  }
}

Tensor shard_of(const TensorView& whole, const Topology& topology, int rank) {
  Shape shape = whole.shape;
  shape[2] = owned_token_count(topology, rank, whole.shape[2]);
  Tensor shard(whole.dtype, shape);
  move_shard(whole, shard.view(), topology, rank, true);
  return shard;
}

// The ring over all ranks on threads; every rank's communicator is recorded into `records` if given.
Answer ring_answer(const Problem& problem, const LocalStep& local_step, const TensorView& q, const TensorView& k,
                   const TensorView& v, std::vector<std::vector<Record>>* records = nullptr) {
  const Topology& topology = problem.topology;
  Answer answer{Tensor(dtype_of_out(problem.dtype), problem.shape_out()),
                Tensor(dtype_of_lse(problem.dtype), problem.shape_lse())};
  std::mutex mutex;
  std::atomic<std::int64_t> order = 0;
  if (records != nullptr) records->resize(static_cast<std::size_t>(topology.rank_count));
  run_on_threads(topology.rank_count, kDeadlineDefault, [&](Communicator& threads) {
    RecordingCommunicator communicator(threads, order);
    Problem mine = problem;
    mine.rank = communicator.rank();
    const Tensor local_q = shard_of(q, topology, mine.rank);
    const Tensor local_k = shard_of(k, topology, mine.rank), local_v = shard_of(v, topology, mine.rank);
    const Tensor out = shard_of(answer.out.view(), topology, mine.rank);
    const Tensor lse = shard_of(answer.lse.view(), topology, mine.rank);
    const TensorView lse_view = lse.view();
    ring_forward(communicator, local_step, {}, mine, 1, local_q.view(), local_k.view(), local_v.view(), out.view(),
                 &lse_view);
    const std::lock_guard lock(mutex);
    move_shard(answer.out.view(), out.view(), topology, mine.rank, false);
    move_shard(answer.lse.view(), lse.view(), topology, mine.rank, false);
    if (records != nullptr) (*records)[static_cast<std::size_t>(mine.rank)] = communicator.records();
  });
  return answer;
}

Problem problem_of(Dtype dtype, const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv,
                   std::int64_t head_dim_qk, std::int64_t head_dim_v) {
  return {dtype, mask, 2, 4, 2, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v, 1.0};
}

std::vector<Topology> topologies(const std::vector<int>& rank_counts) {
  std::vector<Topology> all;
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (const int rank_count : rank_counts) all.push_back({schedule, rank_count});
  }
  return all;
}

const std::vector<Mask> kMasks{
    {MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}, {MaskKind::kWindow, 2, 1}};
constexpr double kPeak = 16384;  // exp(-kPeak) is 0 in every format: one key takes all of the mass, exactly

double value_of(std::int64_t b, std::int64_t head, std::int64_t key, std::int64_t column) {
  return static_cast<double>(1 + key + 32 * column + 128 * head + 512 * b);
}

// The key a row is made to choose, out of those it sees: first, last or in between.
std::int64_t chosen_key(const KeyRange& seen, std::int64_t row) {
  return row % 3 == 0 ? seen.begin : row % 3 == 1 ? seen.end - 1 : seen.begin + row * 7 % seen.count();
}

void expect_every_row_gets_its_key(Dtype dtype, const Mask& mask, const Topology& topology, std::int64_t seqlen_q,
                                   std::int64_t seqlen_kv) {
  Problem problem = problem_of(dtype, mask, seqlen_q, seqlen_kv, std::max<std::int64_t>(seqlen_kv, 1), 2);
  problem.topology = topology;
  const Band band = band_of(mask, seqlen_q, seqlen_kv);
  const Tensor q(dtype, problem.shape_q()), k(dtype, problem.shape_k()), v(dtype, problem.shape_v());
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h = 0; h < problem.heads_q; ++h) {
      for (std::int64_t row = 0; row < seqlen_q; ++row) {
        const KeyRange seen = visible_keys(band, row, seqlen_kv);
        if (seen.count() > 0) q.view().store(b, h, row, chosen_key(seen, row), kPeak);
      }
      for (std::int64_t key = 0; key < seqlen_kv && h < problem.heads_kv; ++key) {
        k.view().store(b, h, key, key, 1);
        for (std::int64_t c = 0; c < 2; ++c) v.view().store(b, h, key, c, value_of(b, h, key, c));
      }
    }
  }
  const Answer got = ring_answer(problem, double_step(), q.view(), k.view(), v.view());
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h = 0; h < problem.heads_q; ++h) {
      for (std::int64_t row = 0; row < seqlen_q; ++row) {
        const KeyRange seen = visible_keys(band, row, seqlen_kv);
        const bool is_empty = seen.count() == 0;
        const std::string place = to_string(topology) + " " + to_string(mask) + " sq" + std::to_string(seqlen_q) +
                                  " skv" + std::to_string(seqlen_kv) + " row " + std::to_string(row);
        for (std::int64_t c = 0; c < 2; ++c) {
          const double want = is_empty ? 0 : value_of(b, h / problem.heads_per_group(), chosen_key(seen, row), c);
          ASSERT_EQ(got.out.view().load(b, h, row, c), want) << place;
        }
        ASSERT_EQ(got.lse.view().load(b, h, row, 0), is_empty ? -kInfinity : kPeak) << place;
      }
    }
  }
}

TEST(Ring, EveryRowGetsTheValueOfTheOneKeyItChooses) {
  for (const Topology& topology : topologies({1, 2, 3, 4, 5, 7, 8})) {
    for (const Mask& mask : kMasks) {
      for (const auto& [seqlen_q, seqlen_kv] : {std::pair{19, 19}, std::pair{7, 18}, std::pair{18, 7}}) {
        expect_every_row_gets_its_key(Dtype::kF64, mask, topology, seqlen_q, seqlen_kv);
      }
    }
  }
}

TEST(Ring, ShardsWithoutQueriesOrKeysTakePart) {
  for (const Topology& topology : topologies({1, 3, 5})) {
    for (const Mask& mask : kMasks) {
      for (const auto& [seqlen_q, seqlen_kv] :
           {std::pair{0, 0}, std::pair{0, 6}, std::pair{6, 0}, std::pair{2, 2}, std::pair{1, 9}, std::pair{9, 1}}) {
        expect_every_row_gets_its_key(Dtype::kF64, mask, topology, seqlen_q, seqlen_kv);
      }
    }
  }
}

TEST(Ring, NarrowStorageTravelsUnchanged) {
  for (const Topology& topology : topologies({2, 3})) {
    expect_every_row_gets_its_key(Dtype::kF16, {MaskKind::kFull}, topology, 13, 15);
    expect_every_row_gets_its_key(Dtype::kF32, {MaskKind::kCausalBottomRight}, topology, 13, 15);
  }
}

// Q = 0: every visible key weighs the same, so exp(lse) is their count, which rounding to an integer recovers.
TEST(Ring, EveryRowCountsEachOfItsKeysOnce) {
  for (const Topology& topology : topologies({2, 3, 8})) {
    for (const Mask& mask : kMasks) {
      Problem problem = problem_of(Dtype::kF64, mask, 23, 29, 1, 1);
      problem.topology = topology;
      const Tensor q(Dtype::kF64, problem.shape_q()), k(Dtype::kF64, problem.shape_k()),
          v(Dtype::kF64, problem.shape_v());
      const Answer got = ring_answer(problem, double_step(), q.view(), k.view(), v.view());
      for (std::int64_t row = 0; row < 23; ++row) {
        EXPECT_EQ(std::lround(std::exp(got.lse.view().load(1, 3, row, 0))),
                  visible_keys(band_of(mask, 23, 29), row, 29).count())
            << to_string(topology) << " " << to_string(mask);
      }
    }
  }
}

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
        const Answer got = ring_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view());
        EXPECT_EQ(got.out.bytes(), want_out.bytes()) << to_string(problem.topology);
        EXPECT_EQ(got.lse.bytes(), want_lse.bytes()) << to_string(problem.topology);
      }
    }
  }
}

TEST(Ring, TheExchangeForTheNextStepIsPostedBeforeThePresentOneIsComputed) {
  for (const Topology& topology : topologies({2, 3, 4, 8})) {
    Problem problem = problem_of(Dtype::kF64, {MaskKind::kFull}, 16, 16, 4, 4);
    problem.topology = topology;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
    std::vector<std::vector<Record>> records;
    ring_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
    for (const std::vector<Record>& of_rank : records) {
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
  for (const Topology& topology : topologies({1, 2, 3, 4, 5, 7, 8})) {
    for (const Dtype dtype : {Dtype::kF64, Dtype::kBf16}) {
      Problem problem = problem_of(dtype, {MaskKind::kCausalTopLeft}, 11, 13, 3, 5);
      problem.topology = topology;
      const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
      std::vector<std::vector<Record>> records;
      ring_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
      for (int rank = 0; rank < topology.rank_count; ++rank) {
        std::int64_t bytes_sent = 0, exchanges = 0;
        for (const Record& record : records[static_cast<std::size_t>(rank)]) {
          bytes_sent += record.bytes_sent;
          exchanges += record.kind == Record::Kind::kExchangePosted ? 1 : 0;
        }
        const std::int64_t bytes_per_token = 2 * 2 * (3 + 5) * static_cast<std::int64_t>(size_bytes(dtype));
        const int right = (rank + 1) % topology.rank_count;
        EXPECT_EQ(bytes_sent, bytes_per_token * (13 - owned_token_count(topology, right, 13))) << to_string(topology);
        EXPECT_EQ(exchanges, topology.rank_count - 1);
      }
    }
  }
}

TEST(Ring, FullyHiddenBlocksAreNotComputed) {
  Problem problem = problem_of(Dtype::kF64, {MaskKind::kCausalTopLeft}, 16, 16, 4, 4);
  problem.topology = {Schedule::kContiguous, 4};
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {});
  std::vector<std::vector<Record>> records;
  ring_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), &records);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const auto is_local_step = [](const Record& record) {
      return record.kind == Record::Kind::kComputeBegun && record.name == "local step";
    };
    EXPECT_EQ(std::count_if(records[rank].begin(), records[rank].end(), is_local_step), static_cast<int>(rank) + 1);
  }
}

// Step 0 reads the caller's own views, later steps what was packed from them: both must go through the strides.
TEST(Ring, StridedShardsGiveTheBitsOfDenseOnes) {
  for (const Topology& topology : topologies({1, 3})) {
    Problem problem = problem_of(Dtype::kF32, {MaskKind::kCausalBottomRight}, 12, 15, 4, 4);
    problem.topology = topology;
    const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 8}, {});
    TensorView shared_k = inputs.k.view();
    shared_k.stride[1] = 0;  // both kv heads read the first one's keys
    const Answer want = ring_answer(problem, double_step(), inputs.q.view(), shared_k, inputs.v.view());

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
  for (const Topology& topology : topologies({1, 2, 5})) {
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
      ring_answer(problem, failing, inputs.q.view(), inputs.k.view(), inputs.v.view());
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

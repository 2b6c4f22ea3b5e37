#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "distributed/all_gather.h"
#include "distributed/communicator_recording.h"
#include "distributed/communicator_threads.h"
#include "distributed/double_step.h"
#include "distributed/head_split.h"
#include "distributed/ring.h"
#include "reference/spec/inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {

/// O and lse of whole sequences, gathered from ranks.
struct Answer {
  Tensor out, lse;
};

/// What one rank did.
struct RankRecord {
  std::vector<Record> records;
  std::int64_t memory_bytes_peak;

  std::int64_t bytes_sent() const {
    std::int64_t bytes = 0;
    for (const Record& record : records) bytes += record.bytes_sent;
    return bytes;
  }
  std::int64_t exchanges() const {
    std::int64_t count = 0;
    for (const Record& record : records) count += record.kind == Record::Kind::kExchangePosted;
    return count;
  }
};

/// The algorithm that a topology names.
inline RanksForward forward_of(const Topology& topology) {
  if (topology.schedule == Schedule::kHeadSplit || topology.head_split_ranks > 1) return head_split_forward;
  return topology.schedule == Schedule::kAllGather ? all_gather_forward : ring_forward;
}

// Copies between a whole tensor and the shard of a rank.
inline void move_shard(const TensorView& whole, const TensorView& shard, const Topology& topology, int rank,
                       bool to_shard) {
  const auto run_of = [](TensorView view, const TokenRun& run) {
    if (run.count() > 0) view.data = view.at(0, 0, run.begin, 0);
    view.shape[2] = run.count();
    view.stride[2] *= run.step;
    return view;
  };
  std::int64_t local_begin = 0;
  for (const TokenRun& run : owned_tokens(topology, rank, whole.shape[2])) {
    const TensorView there = run_of(whole, run);
    const TensorView here = run_of(shard, {local_begin, local_begin + run.count(), 1});
    to_shard ? copy_elements(there, here) : copy_elements(here, there);
    local_begin += run.count();
  }
}

inline Tensor shard_of(const TensorView& whole, const Topology& topology, int rank) {
  Shape shape = whole.shape;
  shape[2] = owned_token_count(topology, rank, whole.shape[2]);
  Tensor shard(whole.dtype, shape);
  move_shard(whole, shard.view(), topology, rank, true);
  return shard;
}

/// Attention over all ranks, by the algorithm of the topology, on threads unless said otherwise; every rank is recorded
/// into `records` if given.
inline Answer ranks_answer(const Problem& problem, const LocalStep& local_step, const TensorView& q,
                           const TensorView& k, const TensorView& v, std::vector<RankRecord>* records = nullptr,
                           const Launcher& launcher = threads_launcher()) {
  const Topology& topology = problem.topology;
  Answer answer{Tensor(dtype_of_out(problem.dtype), problem.shape_out()),
                Tensor(dtype_of_lse(problem.dtype), problem.shape_lse())};
  std::mutex mutex;
  std::atomic<std::int64_t> order = 0;
  if (records != nullptr) records->resize(static_cast<std::size_t>(topology.rank_count));
  launcher(topology.rank_count, [&](Communicator& transport) {
    RecordingCommunicator communicator(transport, order);
    Problem mine = problem;
    MaskTables tables;
    tables.hand_to(mine);
    mine.rank = communicator.rank();
    const Tensor local_q = shard_of(q, topology, mine.rank);
    const Tensor local_k = shard_of(k, topology, mine.rank), local_v = shard_of(v, topology, mine.rank);
    const Tensor out = shard_of(answer.out.view(), topology, mine.rank);
    const Tensor lse = shard_of(answer.lse.view(), topology, mine.rank);
    const TensorView lse_view = lse.view();
    forward_of(topology)(communicator, local_step, {}, mine, 1, local_q.view(), local_k.view(), local_v.view(),
                         out.view(), &lse_view);
    const std::lock_guard lock(mutex);
    move_shard(answer.out.view(), out.view(), topology, mine.rank, false);
    move_shard(answer.lse.view(), lse.view(), topology, mine.rank, false);
    if (records != nullptr) {
      (*records)[static_cast<std::size_t>(mine.rank)] = {communicator.records(), communicator.memory_bytes_peak()};
    }
  });
  return answer;
}

/// Contiguous, striped and zigzag rings of every rank count given.
inline std::vector<Topology> ring_topologies(const std::vector<int>& rank_counts) {
  std::vector<Topology> all;
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    for (const int rank_count : rank_counts) all.push_back({schedule, rank_count});
  }
  return all;
}

/// head_split, all_gather and every hybrid of every rank count given: 2 or 3 ranks or all of them in a head-split
/// group, the rest in a ring.
inline std::vector<Topology> gathering_topologies(const std::vector<int>& rank_counts) {
  std::vector<Topology> all;
  for (const int rank_count : rank_counts) {
    all.push_back({Schedule::kHeadSplit, rank_count});
    all.push_back({Schedule::kAllGather, rank_count});
    for (const int members : {2, 3, rank_count}) {
      if (members == 1 || rank_count % members != 0) continue;
      for (const Topology& ring : ring_topologies({rank_count})) all.push_back({ring.schedule, rank_count, members});
    }
  }
  return all;
}

/// Runs this rank's part of the algorithm of `topology` on the communicator and expects the bits it has on threads.
inline void expect_bits_of_threads(Communicator& communicator, const Topology& topology, const Mask& mask) {
  Problem problem{Dtype::kF32, mask, 2, 6, 2, 37, 41, 8, 6, 0.5};
  problem.topology = topology;
  problem.has_sink = true;
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 7}, {});
  problem = with_data(problem, inputs);
  const Answer want = ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view());
  MaskTables tables;
  tables.hand_to(problem);
  problem.rank = communicator.rank();
  const auto shard = [&](const Tensor& whole) { return shard_of(whole.view(), topology, problem.rank); };
  const Tensor q = shard(inputs.q), k = shard(inputs.k), v = shard(inputs.v);
  const Tensor want_out = shard(want.out), want_lse = shard(want.lse);
  const Tensor out(want_out.dtype(), want_out.shape()), lse(want_lse.dtype(), want_lse.shape());
  const TensorView lse_view = lse.view();
  forward_of(topology)(communicator, double_step(), {}, problem, 1, q.view(), k.view(), v.view(), out.view(),
                       &lse_view);
  EXPECT_EQ(out.bytes(), want_out.bytes()) << to_string(topology) << " " << to_string(mask);
  EXPECT_EQ(lse.bytes(), want_lse.bytes()) << to_string(topology) << " " << to_string(mask);
}

/// The same of every algorithm, at 2, 3, 4 and 8 ranks, with documents that straddle shards among the masks.
inline void expect_every_algorithm_gives_the_bits_of_threads(const Launcher& launcher) {
  Mask documents{MaskKind::kDocument};
  documents.document_lengths_q = {13, 24};
  documents.document_lengths_kv = {20, 21};
  documents.document_causal = true;
  for (const int rank_count : {2, 3, 4, 8}) {
    launcher(rank_count, [&](Communicator& communicator) {
      std::vector<Topology> topologies = ring_topologies({rank_count});
      for (const Topology& topology : gathering_topologies({rank_count})) topologies.push_back(topology);
      for (const Topology& topology : topologies) {
        for (const Mask& mask : {Mask{MaskKind::kCausalBottomRight}, documents}) {
          expect_bits_of_threads(communicator, topology, mask);
        }
      }
    });
  }
}

}  // namespace ringproof

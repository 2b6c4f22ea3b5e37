#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/spec/dtype.h"
#include "reference/spec/inputs.h"

namespace ringproof {

/// One deliberate fault of a simulated kernel; -1 and 0 mean none. Tiles count from 0, keys and rows are global.
struct SimulatedFault {
  std::int64_t rescale_of_o_missing_in_tile = -1, rescale_of_l_missing_in_tile = -1;
  std::int64_t causal_shift = 0;  ///< keys the causal edge lies too far
  Dtype accumulator = Dtype::kF32, scores = Dtype::kF32;
  std::int64_t key_dropped = -1, key_twice = -1;
  std::int64_t stale_k_tile = -1, stale_v_tile = -1, swapped_v_tile = -1;
  bool zero_pad_key = false;
  std::int64_t doubled_row = -1, doubled_key = -1;  ///< one element of P doubled
  std::int64_t hop_rank = -1, hop_dropped = -1, hop_stale = -1;
  bool lse_in_base_two = false;
  Dtype merge_accumulator = Dtype::kF32;
};

/// A flash kernel of one head in fp32, or a ring of it: what numerics.md 10.4 simulated, with its faults.
struct SimulatedRun {
  Dtype storage;                ///< of q, k, v, P and O
  Dtype partial = Dtype::kF32;  ///< of the partial O that a ring's steps hand over
  bool causal = false;
  int ranks = 1;         ///< above 1: a contiguous ring with lerp merges; divides the length
  std::int64_t tile_kv;  ///< keys per online-softmax step
  float softmax_scale;
  std::uint64_t seed;  ///< of the exponential's noise, at most 2 ulp
  SimulatedFault fault{};
};

/// O (rounded to storage) and lse, dense: [row][column], [row].
struct SimulatedOutputs {
  std::vector<double> out, lse;
};

/// Runs it on the first head of `inputs`; seqlen_q = seqlen_kv.
SimulatedOutputs simulate_published(const SimulatedRun& run, const Inputs& inputs);

}  // namespace ringproof

// The kernel of the published counts, step by step (fp32 throughout, c = scale log2 e):
//
//   s = q.k    m' = max(m, s)    p = exp2(fma(s, c, -fl(m' c))) (1 + e)    r = exp2(fl((m - m') c)) (1 + e)
//   l <- l r + sum p    o <- o r + sum cast(p) v        at the end O = o / l, lse = m scale + ln l
//
// with e a random multiple of 2^-23 up to 2 of them. A ring merges by out -= sigmoid(lse_b - lse)(out - out_b).
// Every fault is a branch on its own line: nothing else tells a faulty run from a clean one.

#include "property_tests/published/simulated_faults.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float cast(Dtype dtype, float value) {
  return dtype == Dtype::kF32 ? value : static_cast<float>(round_to(dtype, value));
}

// One head in fp32; K also by column, so that scores of neighbouring keys are neighbours.
struct Head {
  std::int64_t length, d, dv;
  std::vector<float> q, k_by_column, v;
};

Head head_of(const Inputs& inputs) {
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
  Head head{q.shape[2], q.shape[3], v.shape[3], {}, {}, {}};
  head.k_by_column.resize(static_cast<std::size_t>(head.length * head.d));
  for (std::int64_t s = 0; s < head.length; ++s) {
    for (std::int64_t c = 0; c < head.d; ++c) {
      head.q.push_back(static_cast<float>(q.load(0, 0, s, c)));
      head.k_by_column[static_cast<std::size_t>(c * head.length + s)] = static_cast<float>(k.load(0, 0, s, c));
    }
    for (std::int64_t c = 0; c < head.dv; ++c) head.v.push_back(static_cast<float>(v.load(0, 0, s, c)));
  }
  return head;
}

struct RowState {
  float m = kMinusInfinity, l = 0;
  std::vector<float> o;
};

class RowKernel {
 public:
  RowKernel(const SimulatedRun& run, const Head& head, std::int64_t row)
      : run_(run),
        head_(head),
        row_(row),
        c_(run.softmax_scale * 1.44269504f),
        state_(run.seed ^ (0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(row) + 1))) {}

  // Keys [begin, end), which the kernel believes to begin at `place`.
  RowState over(std::int64_t begin, std::int64_t end, std::int64_t place) {
    RowState state;
    state.o.assign(static_cast<std::size_t>(head_.dv), 0.0f);
    for (std::int64_t tile = 0; begin + tile * run_.tile_kv < end; ++tile) {
      const std::int64_t first = begin + tile * run_.tile_kv;
      take_tile(state, tile, first, std::min(first + run_.tile_kv, end), place - begin);
    }
    if (run_.fault.zero_pad_key) take_pad_key(state);
    return state;
  }

 private:
  void take_tile(RowState& state, std::int64_t tile, std::int64_t first, std::int64_t last, std::int64_t shift) {
    const SimulatedFault& fault = run_.fault;
    const std::int64_t count = last - first;
    const std::int64_t first_k = fault.stale_k_tile == tile && tile > 0 ? first - run_.tile_kv : first;
    const std::int64_t first_v = fault.stale_v_tile == tile && tile > 0 ? first - run_.tile_kv : first;
    scores_.assign(static_cast<std::size_t>(count), 0.0f);
    for (std::int64_t c = 0; c < head_.d; ++c) {
      const float q = head_.q[static_cast<std::size_t>(row_ * head_.d + c)];
      const float* k = head_.k_by_column.data() + c * head_.length + first_k;
      for (std::int64_t j = 0; j < count; ++j) scores_[static_cast<std::size_t>(j)] += q * k[j];
    }
    float maximum = state.m;
    for (std::int64_t j = 0; j < count; ++j) {
      float& s = scores_[static_cast<std::size_t>(j)];
      s = cast(fault.scores, s);
      const std::int64_t key = first + j + shift;
      if (run_.causal && !(key <= row_ + fault.causal_shift)) s = kMinusInfinity;
      if (key == fault.key_dropped) s = kMinusInfinity;
      maximum = std::max(maximum, s);
    }
    if (maximum == kMinusInfinity) return;
    const float rescale = state.m == kMinusInfinity ? 0 : exp2_noisy((state.m - maximum) * c_);
    const float shifted = maximum * c_;
    const bool keeps_o = fault.rescale_of_o_missing_in_tile == tile && tile > 0;
    const bool keeps_l = fault.rescale_of_l_missing_in_tile == tile && tile > 0;
    if (!keeps_l) state.l *= rescale;
    if (!keeps_o) {
      for (float& o : state.o) o *= rescale;
    }
    state.m = maximum;
    for (std::int64_t j = 0; j < count; ++j) {
      if (scores_[static_cast<std::size_t>(j)] == kMinusInfinity) continue;
      const std::int64_t key = first + j + shift;
      float p = exp2_noisy(std::fma(scores_[static_cast<std::size_t>(j)], c_, -shifted));
      if (row_ == fault.doubled_row && key == fault.doubled_key) p *= 2;
      const float times = key == fault.key_twice ? 2.0f : 1.0f;
      state.l += p * times;
      std::int64_t key_v = first_v + j;
      if (fault.swapped_v_tile == tile && j < 2 && count > 1) key_v = first_v + 1 - j;
      const float weight = cast(run_.storage, p) * times;
      const float* v = head_.v.data() + key_v * head_.dv;
      for (std::size_t c = 0; c < state.o.size(); ++c) state.o[c] += weight * v[c];
    }
    if (fault.accumulator != Dtype::kF32) {
      for (float& o : state.o) o = cast(fault.accumulator, o);
    }
  }

  void take_pad_key(RowState& state) {
    const float maximum = std::max(state.m, 0.0f);
    const float rescale = std::exp2((state.m - maximum) * c_);
    state.l = state.l * rescale + std::exp2(-maximum * c_);
    for (float& o : state.o) o *= rescale;
    state.m = maximum;
  }

  float exp2_noisy(float x) {
    if (x == 0) return 1;
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = (state_ ^ (state_ >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    const auto ulps = static_cast<float>(static_cast<int>((z >> 33) % 5) - 2);
    return std::exp2(x) * (1 + 0x1p-23f * ulps);
  }

  const SimulatedRun& run_;
  const Head& head_;
  std::int64_t row_;
  float c_;
  std::uint64_t state_;
  std::vector<float> scores_;
};

struct Partial {
  std::vector<float> out;
  float lse;
};

Partial finished(const SimulatedRun& run, const RowState& state, Dtype dtype) {
  Partial partial{state.o, state.m * run.softmax_scale + std::log(state.l)};
  for (float& o : partial.out) o = state.l > 0 ? cast(dtype, o / state.l) : 0;
  return partial;
}

void merge(const SimulatedRun& run, Partial& whole, Partial other) {
  if (run.fault.lse_in_base_two) other.lse *= 1.44269504f;
  const float sigmoid = 1 / (1 + std::exp(whole.lse - other.lse));
  for (std::size_t c = 0; c < whole.out.size(); ++c) {
    whole.out[c] = cast(run.fault.merge_accumulator, whole.out[c] - sigmoid * (whole.out[c] - other.out[c]));
  }
  const float gap = whole.lse - other.lse;
  whole.lse += std::max(0.0f, -gap) + std::log1p(std::exp(-std::fabs(gap)));
}

Partial ring_row(const SimulatedRun& run, const Head& head, std::int64_t row) {
  const std::int64_t shard = head.length / run.ranks;
  const auto rank = static_cast<int>(row / shard);
  RowKernel kernel(run, head, row);
  Partial whole;
  bool first = true;
  for (int hop = 0; hop < run.ranks; ++hop) {
    const bool is_hop = run.fault.hop_rank == rank;
    if (is_hop && run.fault.hop_dropped == hop) continue;
    const int owner = (rank - hop + run.ranks) % run.ranks;
    if (run.causal && owner > rank) continue;
    const int held = is_hop && run.fault.hop_stale == hop ? (owner + 1) % run.ranks : owner;
    const RowState state = kernel.over(held * shard, (held + 1) * shard, owner * shard);
    if (state.m == kMinusInfinity) continue;
    const Partial partial = finished(run, state, run.partial);
    if (first) whole = partial;
    if (!first) merge(run, whole, partial);
    first = false;
  }
  return whole;
}

}  // namespace

SimulatedOutputs simulate_published(const SimulatedRun& run, const Inputs& inputs) {
  const Head head = head_of(inputs);
  SimulatedOutputs outputs;
  for (std::int64_t row = 0; row < head.length; ++row) {
    const Partial whole = run.ranks > 1 ? ring_row(run, head, row)
                                        : finished(run, RowKernel(run, head, row).over(0, head.length, 0), Dtype::kF32);
    for (const float o : whole.out) outputs.out.push_back(cast(run.storage, o));
    outputs.lse.push_back(whole.lse);
  }
  return outputs;
}

}  // namespace ringproof

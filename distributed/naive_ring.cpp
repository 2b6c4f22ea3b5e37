// The listing, in its own terms. Per step, with S = Q K^T / sqrt(d) of the block held, hidden scores -inf:
//
//     m_block = max S            P = exp(S - m_block)
//     m_new = max(m, m_block)    correction = exp(m - m_new), correction_block = exp(m_block - m_new)
//     l_new = correction l + correction_block sum P
//     O = (correction l O + correction_block P V) / l_new
//
// so O is normalised at every step. Nothing is said of a block that is hidden from a row as a whole: m_block = -inf,
// and P = exp(-inf + inf) is NaN, which stays in l and O for good. K and V go to rank + 1 while the block is computed.

#include "distributed/naive_ring.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "distributed/buffer.h"

namespace ringproof {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct RunningRow {
  float m = kMinusInfinity, l = 0;
  std::vector<float> out;
};

float element(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row, std::int64_t column) {
  return static_cast<float>(view.load(b, h, row, column));
}

// One step of the listing for one row; key j of the block is token first_key + j, the row sees tokens up to last_seen.
void add_block(const TensorView& q, const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h,
               std::int64_t group, std::int64_t row, std::int64_t first_key, std::int64_t last_seen,
               RunningRow& running) {
  const float scale = 1 / std::sqrt(static_cast<float>(q.shape[3]));
  std::vector<float> scores(static_cast<std::size_t>(k.shape[2]));
  float m_block = kMinusInfinity;
  for (std::int64_t j = 0; j < k.shape[2]; ++j) {
    float dot = 0;
    for (std::int64_t c = 0; c < q.shape[3]; ++c) dot += element(q, b, h, row, c) * element(k, b, h / group, j, c);
    float& score = scores[static_cast<std::size_t>(j)];
    score = first_key + j <= last_seen ? dot * scale : kMinusInfinity;
    m_block = std::max(m_block, score);
  }
  const float m_new = std::max(running.m, m_block);
  const float correction = std::exp(running.m - m_new), correction_block = std::exp(m_block - m_new);
  float sum = 0;
  for (float& score : scores) sum += score = std::exp(score - m_block);
  const float l_new = correction * running.l + correction_block * sum;
  for (std::int64_t c = 0; c < v.shape[3]; ++c) {
    float& out = running.out[static_cast<std::size_t>(c)];
    float product = 0;
    for (std::int64_t j = 0; j < k.shape[2]; ++j) {
      product += scores[static_cast<std::size_t>(j)] * element(v, b, h / group, j, c);
    }
    out = (correction * running.l * out + correction_block * product) / l_new;
  }
  running.m = m_new;
  running.l = l_new;
}

struct Blocks {
  std::array<Buffer, 2> k, v;

  TensorView keys(int step, std::int64_t count) const {
    return rows_of(k.at(static_cast<std::size_t>(step % 2)).view, 0, count);
  }
  TensorView values(int step, std::int64_t count) const {
    return rows_of(v.at(static_cast<std::size_t>(step % 2)).view, 0, count);
  }
};

Blocks make_blocks(Communicator& communicator, const Problem& problem) {
  std::int64_t keys_max = 0;
  for (int rank = 0; rank < communicator.rank_count(); ++rank) {
    keys_max = std::max(keys_max, owned_token_count(problem.topology, rank, problem.seqlen_kv));
  }
  const auto buffer = [&](const std::string& name, std::int64_t dim) {
    return make_buffer_by_token(communicator, name, problem.dtype, {problem.batch, problem.heads_kv, keys_max, dim});
  };
  const std::int64_t dim_k = problem.head_dim_qk, dim_v = problem.head_dim_v;
  return {{buffer("K of even steps", dim_k), buffer("K of odd steps", dim_k)},
          {buffer("V of even steps", dim_v), buffer("V of odd steps", dim_v)}};
}

int block_at(const Communicator& communicator, int step) {
  return (communicator.rank() - step + communicator.rank_count()) % communicator.rank_count();
}

// The block held goes to rank + 1, the next one comes from rank - 1.
Event pass_on(Communicator& communicator, const Problem& problem, std::uint64_t case_id, const Blocks& blocks,
              int step) {
  const int rank = communicator.rank(), rank_count = communicator.rank_count();
  const int to = (rank + 1) % rank_count, from = (rank + rank_count - 1) % rank_count;
  const int block = block_at(communicator, step), next = block_at(communicator, step + 1);
  const std::int64_t keys = owned_token_count(problem.topology, block, problem.seqlen_kv);
  const std::int64_t keys_next = owned_token_count(problem.topology, next, problem.seqlen_kv);
  return communicator.exchange(
      {{{to, memory_of(blocks.keys(step, keys)), {case_id, step + 1, block, 0}},
        {to, memory_of(blocks.values(step, keys)), {case_id, step + 1, block, 1}}},
       {{from, writable_memory_of(blocks.keys(step + 1, keys_next)), {case_id, step + 1, next, 0}},
        {from, writable_memory_of(blocks.values(step + 1, keys_next)), {case_id, step + 1, next, 1}}}},
      {});
}

// Calls visit(batch, head, row, its place) for the rows of q.
template <class Visit>
void for_each_row(const TensorView& q, const Visit& visit) {
  std::size_t place = 0;
  for (std::int64_t b = 0; b < q.shape[0]; ++b) {
    for (std::int64_t h = 0; h < q.shape[1]; ++h) {
      for (std::int64_t row = 0; row < q.shape[2]; ++row) visit(b, h, row, place++);
    }
  }
}

void naive_ring_forward(Communicator& communicator, const LocalStep&, const RingParts&, const Problem& problem,
                        std::uint64_t case_id, const TensorView& q, const TensorView& k, const TensorView& v,
                        const TensorView& out, const TensorView* lse) {
  const auto first_token = [&](int rank, std::int64_t seqlen) {
    return owned_tokens(problem.topology, rank, seqlen).front().begin;
  };
  const bool is_full = problem.mask.kind == MaskKind::kFull;
  const std::int64_t diagonal = is_full ? kUnbounded : band_of(problem.mask, problem.seqlen_q, problem.seqlen_kv).hi;
  std::vector<RunningRow> rows(static_cast<std::size_t>(q.shape[0] * q.shape[1] * q.shape[2]));
  for (RunningRow& row : rows) row.out.resize(static_cast<std::size_t>(problem.head_dim_v));
  const Blocks blocks = make_blocks(communicator, problem);
  copy_elements(k, blocks.keys(0, k.shape[2]));
  copy_elements(v, blocks.values(0, v.shape[2]));
  const WithdrawAtExit withdraw_at_exit(communicator);
  for (int step = 0; step < communicator.rank_count(); ++step) {
    Event arrived;
    if (step + 1 < communicator.rank_count()) arrived = pass_on(communicator, problem, case_id, blocks, step);
    const int block = block_at(communicator, step);
    const std::int64_t keys = owned_token_count(problem.topology, block, problem.seqlen_kv);
    const TensorView held_k = blocks.keys(step, keys), held_v = blocks.values(step, keys);
    const std::int64_t first_row = first_token(communicator.rank(), problem.seqlen_q);
    const std::int64_t first_key = first_token(block, problem.seqlen_kv);
    const auto compute = [&](void*) {
      for_each_row(q, [&](std::int64_t b, std::int64_t h, std::int64_t row, std::size_t place) {
        add_block(q, held_k, held_v, b, h, problem.heads_per_group(), row, first_key, first_row + row + diagonal,
                  rows[place]);
      });
    };
    const std::vector<std::span<const std::byte>> reads{memory_of(q), memory_of(held_k), memory_of(held_v)};
    communicator.wait(communicator.compute({"local step", step, reads, {}, compute}, {}));
    communicator.wait(arrived);
  }
  for_each_row(q, [&](std::int64_t b, std::int64_t h, std::int64_t row, std::size_t place) {
    for (std::int64_t c = 0; c < problem.head_dim_v; ++c) {
      out.store(b, h, row, c, rows[place].out[static_cast<std::size_t>(c)]);
    }
    if (lse != nullptr) lse->store(b, h, row, 0, rows[place].m + std::log(rows[place].l));
  });
}

Description narrowed(Description description) {
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) | bit_of(MaskKind::kCausalBottomRight);
  description.schedules = bit_of(Schedule::kSingle) | bit_of(Schedule::kContiguous);
  description.features &= ~(kEmptyRowsDefined | kNonPositiveScale);
  return description;
}

}  // namespace

Candidate naive_ring_candidate(const Launcher& launcher) {
  RingComposition composition;
  composition.name = "naive_ring";
  composition.local_step.name = "none";
  composition.local_step.dtypes = bit_of(Dtype::kF32);
  composition.local_step.arithmetic = [](Dtype) { return Arithmetic{}; };
  composition.ring = naive_ring_forward;
  composition.launcher = launcher;
  Candidate candidate = ring_candidate(composition);
  candidate.rank_reports = nullptr;  // the listing states no formulas
  candidate.describe = [describe = candidate.describe](Dtype asked, Direction direction) {
    return narrowed(describe(asked, direction));
  };
  return candidate;
}

}  // namespace ringproof

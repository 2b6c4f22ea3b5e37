// The ring of Liu, Zaharia and Abbeel (arXiv 2310.01889), for any schedule and local step:
//
//     for step in 0 .. P - 1:
//       post the exchange that brings the block of step + 1, into the buffer not in use
//       for each piece of the plan: local step on the block held, merge into the running (O, lse)
//
// The exchange is posted first, so that it goes on while the block held is computed. It starts after the block it
// sends has arrived and after the last local step that read the buffer it receives into; a local step starts after
// its block has arrived. These three edges are all the waiting there is, each stands below as an `after`, and the
// computations of a rank run in the order given. Step 0 reads the caller's own K and V; what is sent is packed, so
// that exactly the elements of a block travel.

#include "distributed/ring.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "distributed/buffer.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kEmpty = -std::numeric_limits<double>::infinity();  // lse of a row that has met no key

struct KeyBlock {
  TensorView k, v;
};

struct Buffers {
  std::array<Buffer, 2> k, v;       // packed blocks: the one held and the one that arrives
  Buffer out, lse;                  // running, of all local rows
  Buffer partial_out, partial_lse;  // of one piece
};

struct Ring {
  Communicator& communicator;
  const LocalStep& local_step;
  const RingParts& parts;
  const Problem& problem;
  std::uint64_t case_id;
  std::vector<RingStep> plan;  // kept to the end: local steps read flags there
  TensorView q;
  Buffers buffers;
};

// The first `rows` rows' worth of a buffer, dense. lse has one column.
TensorView dense_rows(const Buffer& buffer, std::int64_t rows) {
  TensorView view = buffer.view;
  view.shape[2] = rows;
  view.stride = dense_strides(view.shape);
  return view;
}

std::int64_t key_count(const Problem& problem, int block) {
  return held_key_count(problem.topology, block, problem.seqlen_kv);
}

KeyBlock held_at(const Ring& ring, int step, int block) {
  const auto slot = static_cast<std::size_t>(step % 2);
  const std::int64_t keys = key_count(ring.problem, block);
  return {dense_rows(ring.buffers.k[slot], keys), dense_rows(ring.buffers.v[slot], keys)};
}

std::vector<RingStep> plan_of(const RingParts& parts, const Problem& problem) {
  std::vector<RingStep> plan;
  for (int step = 0; step < step_count(problem.topology); ++step) {
    plan.push_back(parts.plan(problem, problem.rank, step));
  }
  return plan;
}

Buffers make_buffers(Communicator& communicator, const Problem& problem, Dtype partial, std::int64_t rows) {
  std::int64_t keys_max = 0;
  if (step_count(problem.topology) > 1) {
    for (int block = 0; block < problem.topology.rank_count; ++block) {
      keys_max = std::max(keys_max, key_count(problem, block));
    }
  }
  const auto blocks = [&](const std::string& name, std::int64_t head_dim) -> std::array<Buffer, 2> {
    const Shape shape{problem.batch, problem.heads_kv, keys_max, head_dim};
    return {make_buffer(communicator, name + " of even steps", problem.dtype, shape),
            make_buffer(communicator, name + " of odd steps", problem.dtype, shape)};
  };
  const auto rows_buffer = [&](const std::string& name, std::int64_t columns) {
    return make_buffer(communicator, name, partial, {problem.batch, problem.heads_q, rows, columns});
  };
  return {blocks("K", problem.head_dim_qk),
          blocks("V", problem.head_dim_v),
          rows_buffer("running O", problem.head_dim_v),
          rows_buffer("running lse", 1),
          rows_buffer("partial O", problem.head_dim_v),
          rows_buffer("partial lse", 1)};
}

template <class Write>
void for_each_row(const TensorView& lse, const Write& write) {
  for (std::int64_t b = 0; b < lse.shape[0]; ++b) {
    for (std::int64_t h = 0; h < lse.shape[1]; ++h) {
      for (std::int64_t row = 0; row < lse.shape[2]; ++row) write(b, h, row);
    }
  }
}

// Running rows are empty at first: O = 0 (the bits of a new buffer), lse = -inf. The own block is packed to be sent.
Event start(Ring& ring, const KeyBlock& own) {
  const TensorView lse = ring.buffers.lse.view;
  const bool is_sent = step_count(ring.problem.topology) > 1;
  const KeyBlock packed = is_sent ? held_at(ring, 0, ring.problem.rank) : KeyBlock{};
  const auto run = [lse, own, packed, is_sent](void*) {
    for_each_row(lse, [&](std::int64_t b, std::int64_t h, std::int64_t row) { lse.store(b, h, row, 0, kEmpty); });
    if (!is_sent) return;
    copy_elements(own.k, packed.k);
    copy_elements(own.v, packed.v);
  };
  return ring.communicator.compute({"start",
                                    0,
                                    {memory_of(own.k), memory_of(own.v)},
                                    {memory_of(lse), memory_of(packed.k), memory_of(packed.v)},
                                    run},
                                   {});
}

// Sends the block held at step - 1 on and receives that of `step`.
Event post_exchange(Ring& ring, int step, int block_held, int block_next, std::initializer_list<Event> after) {
  const int rank_count = ring.communicator.rank_count();
  const int next = (ring.communicator.rank() + 1) % rank_count;
  const int previous = (ring.communicator.rank() + rank_count - 1) % rank_count;
  const KeyBlock held = held_at(ring, step - 1, block_held), arriving = held_at(ring, step, block_next);
  const auto header = [&](int block, int part) { return TransferHeader{ring.case_id, step, block, part}; };
  const Exchange exchange{
      {{next, memory_of(held.k), header(block_held, 0)}, {next, memory_of(held.v), header(block_held, 1)}},
      {{previous, writable_memory_of(arriving.k), header(block_next, 0)},
       {previous, writable_memory_of(arriving.v), header(block_next, 1)}}};
  return ring.communicator.exchange(exchange, {after.begin(), after.size()});
}

Event run_local_step(Ring& ring, int step, const RingPiece& piece, const KeyBlock& held, Event after) {
  const Problem& problem = ring.problem;
  LocalProblem local{problem.batch,       problem.heads_q,    problem.heads_kv, piece.row_count,       piece.key_count,
                     problem.head_dim_qk, problem.head_dim_v, piece.band,       problem.softmax_scale, problem.softcap};
  if (problem.has_sink && step_count(problem.topology) == 1) local.sink = problem.sink;
  if (piece.blocks.block_q > 0) {
    local.block_q = piece.blocks.block_q;
    local.block_kv = piece.blocks.block_kv;
    local.block_mask = piece.blocks.visible.data();
  }
  const TensorView q = rows_of(ring.q, piece.row_begin, piece.row_count);
  const TensorView k = rows_of(held.k, piece.key_begin, piece.key_count);
  const TensorView v = rows_of(held.v, piece.key_begin, piece.key_count);
  const TensorView out = dense_rows(ring.buffers.partial_out, piece.row_count);
  const TensorView lse = dense_rows(ring.buffers.partial_lse, piece.row_count);
  const auto run = [&local_step = ring.local_step, local, q, k, v, out, lse](void* stream) {
    local_step.run(local, q, k, v, out, lse, stream);
  };
  return ring.communicator.compute({"local step",
                                    step,
                                    {memory_of(q), memory_of(k), memory_of(v)},
                                    {memory_of(out), memory_of(lse)},
                                    run,
                                    ring.local_step.enqueues},
                                   {&after, 1});
}

void run_merge(Ring& ring, int step, const RingPiece& piece) {
  const TensorView out = rows_of(ring.buffers.out.view, piece.row_begin, piece.row_count);
  const TensorView lse = rows_of(ring.buffers.lse.view, piece.row_begin, piece.row_count);
  const TensorView out_b = dense_rows(ring.buffers.partial_out, piece.row_count);
  const TensorView lse_b = dense_rows(ring.buffers.partial_lse, piece.row_count);
  const auto run = [merge = ring.parts.merge, out, lse, out_b, lse_b](void*) { merge(out, lse, out_b, lse_b); };
  ring.communicator.compute(
      {"merge", step, {memory_of(out_b), memory_of(lse_b)}, {memory_of(out), memory_of(lse)}, run}, {});
}

// Once per row, whatever the steps: the local step of the only one has added it, but to rows that no piece held.
void add_sink(Ring& ring) {
  const TensorView out = ring.buffers.out.view, lse = ring.buffers.lse.view;
  const float* const sink = ring.problem.sink;
  const bool is_in_step = step_count(ring.problem.topology) == 1;
  const auto run = [out, lse, sink, is_in_step, merge = ring.parts.sink](void*) {
    if (!is_in_step) return merge(out, lse, sink);
    for_each_row(lse, [&](std::int64_t b, std::int64_t h, std::int64_t row) {
      if (lse.load(b, h, row, 0) == kEmpty) lse.store(b, h, row, 0, sink[h]);
    });
  };
  ring.communicator.compute(
      {"sink", ring.communicator.rank_count(), {memory_of(lse)}, {memory_of(out), memory_of(lse)}, run}, {});
}

// The one rounding to storage.
Event write_answer(Ring& ring, const TensorView& out, const TensorView* lse) {
  const TensorView running_out = ring.buffers.out.view, running_lse = ring.buffers.lse.view;
  const TensorView lse_wanted = lse == nullptr ? TensorView{} : *lse;
  const auto run = [=](void*) {
    for_each_row(running_lse, [&](std::int64_t b, std::int64_t h, std::int64_t row) {
      for (std::int64_t c = 0; c < out.shape[3]; ++c) out.store(b, h, row, c, running_out.load(b, h, row, c));
      if (lse_wanted.dtype != Dtype::kDefault) lse_wanted.store(b, h, row, 0, running_lse.load(b, h, row, 0));
    });
  };
  return ring.communicator.compute({"write",
                                    ring.communicator.rank_count(),
                                    {memory_of(running_out), memory_of(running_lse)},
                                    {memory_of(out), memory_of(lse_wanted)},
                                    run},
                                   {});
}

void require_shards(const Communicator& communicator, const Problem& problem, const TensorView& q, const TensorView& k,
                    const TensorView& v, const TensorView& out) {
  const Topology& topology = problem.topology;
  const bool is_ring = topology.schedule <= Schedule::kZigzag || topology.schedule == Schedule::kAllGather;
  assert_that(is_ring && topology.head_split_ranks == 1, "a ring has a ring's schedule, or holds all keys");
  assert_that(communicator.rank_count() == step_count(topology), "a ring runs on the ranks of its topology");
  assert_that(communicator.rank_count() == 1 || communicator.rank() == problem.rank, "a ring runs in its place");
  assert_that(q.device < 0 && k.device < 0 && v.device < 0 && out.device < 0, "this ring works in host memory");
  const std::int64_t rows = owned_token_count(topology, problem.rank, problem.seqlen_q);
  const std::int64_t keys = key_count(problem, problem.rank);
  assert_that(q.shape[2] == rows && out.shape[2] == rows && k.shape[2] == keys && v.shape[2] == keys,
              "a rank gets the shards it owns");
}

}  // namespace

void ring_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                  const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                  const TensorView& v, const TensorView& out, const TensorView* lse) {
  require_shards(communicator, problem, q, k, v, out);
  const Dtype partial = resolve(local_step.arithmetic(problem.dtype), problem.dtype).partial_dtype;
  Ring ring{communicator,
            local_step,
            parts,
            problem,
            case_id,
            plan_of(parts, problem),
            q,
            make_buffers(communicator, problem, partial, q.shape[2])};
  const WithdrawAtExit withdraw_at_exit(communicator);

  const KeyBlock own{k, v};
  Event arrived = start(ring, own);  // of the block held
  Event released;                    // of the other buffer, by the local steps that read it
  Event exchanged;
  for (int step = 0; step < communicator.rank_count(); ++step) {
    const RingStep& now = ring.plan[static_cast<std::size_t>(step)];
    if (step + 1 < communicator.rank_count()) {
      const int block_next = ring.plan[static_cast<std::size_t>(step) + 1].block;
      exchanged = post_exchange(ring, step + 1, now.block, block_next, {arrived, released});
    }
    const KeyBlock held = step == 0 ? own : held_at(ring, step, now.block);
    released = {};
    for (const RingPiece& piece : now.pieces) {
      released = run_local_step(ring, step, piece, held, arrived);
      run_merge(ring, step, piece);
    }
    arrived = exchanged;
  }
  communicator.wait(exchanged);
  if (problem.has_sink) add_sink(ring);
  communicator.wait(write_answer(ring, out, lse));
}

}  // namespace ringproof

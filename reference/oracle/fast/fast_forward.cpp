// One kv head after the other. Rows go in query blocks of a few panels, so that a block of K and V serves many rows
// while it lies in the cache:
//
//   many rows   K and V are packed once per head; threads take query blocks
//   few rows    the keys are cut into parts; threads take parts, pack each block themselves for all rows, and the
//               parts are merged in their order
//   few of both threads take heads
//
// What a query block holds, and where keys are cut, depends on the Problem and the rows alone, so threads change no
// bit.

#include "reference/oracle/fast/fast_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "reference/oracle/fast/packed_head.h"
#include "reference/oracle/fast/panel_forward.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr std::int64_t kPanelsTogether = 4;        // of many rows: their state and a block of keys fit the second cache
constexpr std::int64_t kPanelsTogetherFew = 6;     // of few rows: a block is packed once for so many
constexpr std::int64_t kPackedBytesMax = 1 << 30;  // of one head
static_assert(sizeof(RowScalars) == 19 * 8 && sizeof(RowStatistics) == 7 * sizeof(std::vector<double>),
              "a new statistic: the fast oracle has to give it too, or fast_oracle_serves to refuse");

// What a thread keeps between tasks.
struct Worker {
  std::vector<Panel> panels;
  std::vector<PanelScratch> scratch;
  Aligned<double> packed;
  std::int64_t packed_room = 0;
};

// Workers outlive threads, which end with each hand-out, but not the call.
class WorkerPool {
 public:
  std::unique_ptr<Worker> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Worker>();
    std::unique_ptr<Worker> worker = std::move(free_.back());
    free_.pop_back();
    return worker;
  }
  void give_back(std::unique_ptr<Worker> worker) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(worker));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> free_;
};

class FastForward {
 public:
  FastForward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
              bool with_statistics, ForwardAnswer& answer)
      : problem_(problem),
        q_(q),
        k_(k),
        v_(v),
        with_statistics_(with_statistics),
        answer_(answer),
        visibility_(problem),
        kernels_(panel_kernels()),
        packing_(pack_kernels()) {
    const Topology ring = ring_of(problem.topology);
    for (int rank = 0; rank < ring.rank_count; ++rank) {
      shards_.push_back(owned_tokens(ring, rank, problem.seqlen_kv));
    }
  }

  // False when an input is an infinity or a NaN.
  bool run(int threads) {
    const std::int64_t heads = problem_.batch * problem_.heads_kv;
    const std::int64_t rows = static_cast<std::int64_t>(answer_.row_count()) / std::max<std::int64_t>(heads, 1);
    const bool is_little = rows <= kPanelsTogetherFew * kernels_.queries && parts_of(blocks()) == 1;
    parallel_for(heads, is_little ? threads : 1, [&](std::int64_t head) {
      if (is_finite_) one_head(head / problem_.heads_kv, head % problem_.heads_kv, is_little ? 1 : threads);
    });
    return is_finite_;
  }

 private:
  std::int64_t blocks() const { return blocks_of(problem_.seqlen_kv); }
  static std::int64_t parts_of(std::int64_t blocks) {
    return std::clamp<std::int64_t>((blocks + kSegmentBlocks - 1) / kSegmentBlocks, 1, kFastPartsMax);
  }

  void one_head(std::int64_t b, std::int64_t h_kv, int threads) {
    const std::int64_t head = b * problem_.heads_q + h_kv * problem_.heads_per_group(), n = problem_.seqlen_q;
    const auto [first, last] = rows_between(answer_, head * n, (head + problem_.heads_per_group()) * n);
    if (first == last) return;
    const HeadFacts facts = survey_head(k_, v_, b, h_kv, problem_.descale_k, problem_.descale_v, threads);
    if (!facts.is_finite) {
      is_finite_ = false;
      return;
    }
    const PanelContext context{problem_, visibility_, shards_, kernels_, packing_, q_, facts, with_statistics_};
    const std::int64_t bytes = 8 * packed_doubles(facts, with_statistics_) * blocks();
    const bool is_many = last - first > kPanelsTogetherFew * kernels_.queries && bytes <= kPackedBytesMax;
    if (is_many) {
      many_rows(context, b, h_kv, first, last, threads);
    } else {
      const std::int64_t step = kPanelsTogetherFew * kernels_.queries;
      for (std::int64_t at = first; at < last; at += step)
        few_rows(context, b, h_kv, at, std::min(at + step, last), threads);
    }
  }

  void many_rows(const PanelContext& context, std::int64_t b, std::int64_t h_kv, std::int64_t first, std::int64_t last,
                 int threads) {
    const std::int64_t size = packed_doubles(context.head, with_statistics_), blocks = this->blocks();
    if (packed_room_ < size * blocks) {
      packed_ = aligned_memory<double>(size * blocks);
      packed_room_ = size * blocks;
    }
    parallel_for(blocks, threads, [&](std::int64_t block) {
      pack_block(k_, v_, b, h_kv, context.head, block, with_statistics_, packed_.get() + block * size);
    });
    const std::int64_t step = kPanelsTogether * kernels_.queries, tasks = (last - first + step - 1) / step;
    parallel_for(tasks, threads, [&](std::int64_t task) {
      std::unique_ptr<Worker> worker = workers_.take();
      // The longest rows of a causal mask first, so that threads end together.
      const std::int64_t begin = first + (tasks - 1 - task) * step;
      take_blocks(context, begin, std::min(begin + step, last), 0, blocks, *worker, worker->panels,
                  [&](std::int64_t block) { return packed_at(context.head, packed_.get() + block * size); });
      if (is_finite_) {
        for (const Panel& panel : worker->panels) panel.finish(answer_);
      }
      workers_.give_back(std::move(worker));
    });
  }

  void few_rows(const PanelContext& context, std::int64_t b, std::int64_t h_kv, std::int64_t first, std::int64_t last,
                int threads) {
    const std::int64_t size = packed_doubles(context.head, with_statistics_), blocks = this->blocks(),
                       parts = parts_of(blocks);
    const std::int64_t segments = (blocks + kSegmentBlocks - 1) / kSegmentBlocks;
    std::vector<std::vector<Panel>> states(static_cast<std::size_t>(parts));
    parallel_for(parts, threads, [&](std::int64_t part) {
      std::unique_ptr<Worker> worker = workers_.take();
      if (worker->packed_room < size) {
        worker->packed = aligned_memory<double>(size);
        worker->packed_room = size;
      }
      const auto edge = [&](std::int64_t of) { return std::min(of * segments / parts * kSegmentBlocks, blocks); };
      take_blocks(context, first, last, edge(part), edge(part + 1), *worker, states[static_cast<std::size_t>(part)],
                  [&](std::int64_t block) {
                    return pack_block(k_, v_, b, h_kv, context.head, block, with_statistics_, worker->packed.get());
                  });
      workers_.give_back(std::move(worker));
    });
    if (!is_finite_) return;
    for (std::size_t panel = 0; panel < states.front().size(); ++panel) {
      for (std::size_t part = 1; part < states.size(); ++part) states[0][panel].merge(states[part][panel]);
      states[0][panel].finish(answer_);
    }
  }

  // Rows [first, last) meet blocks [from, to).
  template <class Packed>
  void take_blocks(const PanelContext& context, std::int64_t first, std::int64_t last, std::int64_t from,
                   std::int64_t to, Worker& worker, std::vector<Panel>& panels, const Packed& packed) {
    const std::int64_t width = kernels_.queries;
    const auto count = static_cast<std::size_t>((last - first + width - 1) / width);
    panels.resize(count);
    if (worker.scratch.size() < count) worker.scratch.resize(count);
    std::int64_t least = to, largest = from;
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t begin = first + static_cast<std::int64_t>(i) * width;
      if (!panels[i].begin(context, answer_, begin, std::min(begin + width, last), worker.scratch[i]))
        is_finite_ = false;
      least = std::min(least, panels[i].blocks_begin());
      largest = std::max(largest, panels[i].blocks_end());
    }
    if (!is_finite_) return;
    const std::int64_t end = std::min(to, largest);
    for (std::int64_t block = std::max(from, least); block < end; ++block) {
      const bool is_seen = std::any_of(panels.begin(), panels.end(), [&](const Panel& one) { return one.sees(block); });
      const PackedBlock keys = is_seen ? packed(block) : PackedBlock{};
      for (Panel& panel : panels) {
        if (is_seen && panel.sees(block)) panel.take(block, keys);
        if ((block + 1) % kSegmentBlocks == 0 || block + 1 == end) panel.end_segment(block / kSegmentBlocks);
      }
    }
  }

  const Problem& problem_;
  TensorView q_, k_, v_;
  bool with_statistics_;
  ForwardAnswer& answer_;
  Visibility visibility_;
  PanelKernels kernels_;
  PackKernels packing_;
  std::vector<std::vector<TokenRun>> shards_;
  std::atomic<bool> is_finite_{true};
  Aligned<double> packed_;
  std::int64_t packed_room_ = 0;
  WorkerPool workers_;
};

}  // namespace

namespace {

bool sink_is_finite(const Problem& problem) {
  return !problem.has_sink ||
         std::all_of(problem.sink, problem.sink + problem.heads_q, [](float logit) { return std::isfinite(logit); });
}

}  // namespace

bool fast_oracle_serves(const Problem& problem) { return problem.dtype != Dtype::kF64; }

ForwardAnswer fast_attention_forward_of(const Problem& problem, const TensorView& q, const TensorView& k,
                                        const TensorView& v, const std::vector<std::int64_t>& rows,
                                        bool with_statistics, int threads) {
  assert_that(q.shape == problem.shape_q() && k.shape == problem.shape_k() && v.shape == problem.shape_v(),
              "the oracle's tensors have the problem's shapes");
  assert_that(!problem.has_sink || problem.sink != nullptr, "a problem with a sink shows its logits");
  if (fast_oracle_serves(problem) && sink_is_finite(problem)) {
    ForwardAnswer answer = empty_answer(problem, rows, false, with_statistics);
    answer.is_fast = true;
    answer.statistics_roundoff = panel_kernels().word_roundoff();
    if (FastForward(problem, q, k, v, with_statistics, answer).run(threads)) return answer;
  }
  return rows.empty() ? attention_forward(problem, q, k, v, threads)
                      : attention_forward_of_rows(problem, q, k, v, rows, threads);
}

ForwardAnswer fast_attention_forward(const Problem& problem, const TensorView& q, const TensorView& k,
                                     const TensorView& v, int threads) {
  return fast_attention_forward_of(problem, q, k, v, {}, true, threads);
}

}  // namespace ringproof

// One kv head after the other: K and V are packed once, then threads take panels of its query heads. What a panel holds
// depends on the head alone, so threads change no bit.

#include "reference/oracle/fast/fast_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "reference/oracle/fast/packed_head.h"
#include "reference/oracle/fast/panel_forward.h"
#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kUnit = 0x1p-53;

// Scratch outlives the threads, which end with each head, but not the call.
class ScratchPool {
 public:
  std::unique_ptr<PanelScratch> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<PanelScratch>();
    std::unique_ptr<PanelScratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<PanelScratch> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<PanelScratch>> free_;
};

ForwardAnswer empty_answer(const Problem& problem) {
  const auto rows = static_cast<std::size_t>(element_count(problem.shape_lse()));
  const std::vector<double> elements(static_cast<std::size_t>(element_count(problem.shape_out())));
  ForwardAnswer answer;
  answer.out = {elements, {}};
  answer.lse = {std::vector<double>(rows), {}};
  answer.statistics = {std::vector<RowScalars>(rows), elements, elements, elements, elements, elements, elements};
  answer.unit_roundoff = kUnit;
  return answer;
}

}  // namespace

double fast_weight_error_max(const Problem& problem, double d_max, double gap_max) {
  const double scores = static_cast<double>(problem.head_dim_qk + 1) * std::fabs(problem.softmax_scale) * d_max;
  return 1.01 * kUnit * (scores + 3 * std::min(gap_max, 1000.0) + 4);  // farther keys have weight 0
}

double raise_of_row(const Problem& problem, const RowScalars& row) {
  const auto roundings = static_cast<double>(problem.head_dim_qk + fast_sum_depth(row.visible_count) + 16);
  return 1 + roundings * 0x1p-24 + 4.04 * fast_weight_error_max(problem, row.d_max, row.gap_max);
}

ForwardAnswer fast_attention_forward(const Problem& problem, const TensorView& q, const TensorView& k,
                                     const TensorView& v, int threads) {
  assert_that(q.shape == problem.shape_q() && k.shape == problem.shape_k() && v.shape == problem.shape_v(),
              "the oracle's tensors have the problem's shapes");
  const bool is_band = problem.mask.kind != MaskKind::kDocument && problem.mask.kind != MaskKind::kBlockSparse;
  const bool is_plain = problem.softcap == 0 && !problem.has_sink && !is_fp8(problem.dtype);
  if (problem.dtype == Dtype::kF64 || !is_band || !is_plain) return attention_forward(problem, q, k, v, threads);
  const PanelKernels kernels = panel_kernels();
  ForwardAnswer answer = empty_answer(problem);
  const std::int64_t panels = (problem.seqlen_q + kernels.queries - 1) / kernels.queries;
  std::atomic<bool> is_finite{true};
  ScratchPool scratch;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h_kv = 0; h_kv < problem.heads_kv && is_finite; ++h_kv) {
      const PackedHead head = pack_head(k, v, b, h_kv, threads);
      if (!head.is_finite) is_finite = false;
      parallel_for(is_finite ? problem.heads_per_group() * panels : 0, threads, [&](std::int64_t item) {
        std::unique_ptr<PanelScratch> work = scratch.take();
        // The longest rows of a causal mask first, so that threads end together.
        const std::int64_t h = h_kv * problem.heads_per_group() + item / panels, panel = panels - 1 - item % panels;
        if (!forward_panel(problem, kernels, q, head, b, h, panel * kernels.queries, *work, answer)) is_finite = false;
        scratch.give_back(std::move(work));
      });
    }
  }
  return is_finite ? answer : attention_forward(problem, q, k, v, threads);
}

}  // namespace ringproof

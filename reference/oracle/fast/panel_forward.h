#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "reference/oracle/attention_forward.h"
#include "reference/oracle/fast/packed_head.h"
#include "reference/oracle/fast/panel_kernels.h"

namespace ringproof {

/// What a thread needs for one panel; kept between panels and grown where needed.
struct PanelScratch {
  static constexpr int kSumCount = 9;
  std::int64_t keys = 0, head_dim_qk = 0, groups_v = 0, queries = 0;
  Aligned<double> score, sums, out;
  Aligned<float> d, weight_squared, p_abs_v, p_centred_v2, p2_v2, p2_v;
  PackedPanel panel;
  std::vector<double> row_scores, stack;

  void grow(const PanelKernels& kernels, std::int64_t keys_wanted, std::int64_t head_dim, std::int64_t groups) {
    if (keys_wanted > keys || kernels.queries != queries) {
      score = aligned_zeros<double>(keys_wanted * kernels.queries);
      d = aligned_zeros<float>(keys_wanted * kernels.queries);
      weight_squared = aligned_zeros<float>(keys_wanted * kernels.queries);
      keys = keys_wanted;
    }
    if (head_dim > head_dim_qk || kernels.queries != queries) {
      panel.q = aligned_zeros<double>(head_dim * kernels.queries);
      panel.q_abs = aligned_zeros<float>(head_dim * kernels.queries);
      head_dim_qk = head_dim;
    }
    if (groups > groups_v || kernels.queries != queries) {
      groups_v = groups;
      out = aligned_zeros<double>(groups * kGroup * kernels.queries);
      for (auto* sum : singles()) *sum = aligned_zeros<float>(groups * kGroup * kernels.queries);
    }
    if (kernels.queries != queries) sums = aligned_zeros<double>((kSumCount + 2) * kernels.queries);
    queries = kernels.queries;
  }
  std::array<Aligned<float>*, 4> singles() { return {&p_abs_v, &p_centred_v2, &p2_v2, &p2_v}; }
  PanelSums panel_sums() const {
    double* const s = sums.get();
    return {s,
            s + queries,
            s + 2 * queries,
            s + 3 * queries,
            s + 4 * queries,
            s + 5 * queries,
            s + 6 * queries,
            s + 7 * queries,
            s + 8 * queries};
  }
};

/// Answers the rows [row, row + kernels.queries) of head h of batch b, as many as there are: O, lse and statistics,
/// each written once and by this call alone. `head` is that of the head's group. False, and nothing to be used, when
/// one of the queries is not finite.
bool forward_panel(const Problem& problem, const PanelKernels& kernels, const TensorView& q, const PackedHead& head,
                   std::int64_t b, std::int64_t h, std::int64_t row, PanelScratch& work, ForwardAnswer& answer);

}  // namespace ringproof

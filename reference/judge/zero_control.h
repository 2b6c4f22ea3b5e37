#pragma once

#include <cstdint>
#include <vector>

#include "reference/judge/bound_forward.h"
#include "reference/judge/reference.h"

namespace ringproof {

/// How much of check 2 a kernel would pass that writes zeros: the control beside every verdict on fp8 storage, whose
/// bounds may be wider than O itself. It says what an acceptance is worth, and nothing about a candidate.
struct ZeroControl {
  std::int64_t judged = 0;  ///< elements of O, in rows that see something, whose bound promises something
  std::int64_t inside = 0;  ///< of those: elements where 0 is no further from the exact answer than its bound
  double share() const { return judged == 0 ? 0 : static_cast<double>(inside) / static_cast<double>(judged); }
  /// Most of what was judged could be zeros: the bounds tell little.
  bool is_warning() const { return inside > judged - inside; }
};

/// Of `reference` under the bound of `arithmetic` (resolved). Calls no candidate.
ZeroControl zero_control(const Reference& reference, const Arithmetic& arithmetic);

/// The same under `bounds`, less `rows_left_out`: a flag for every row of [batch, heads_q, seqlen_q], or empty.
ZeroControl zero_control(const Reference& reference, const Bounds& bounds, const std::vector<bool>& rows_left_out);

/// Of two Cases together.
ZeroControl merged(const ZeroControl& one, const ZeroControl& other);

}  // namespace ringproof

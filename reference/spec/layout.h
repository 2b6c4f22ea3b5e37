#pragma once

#include <cstdint>
#include <string>

#include "reference/spec/tensor.h"

namespace ringproof {

enum class AxisOrder : std::int32_t { kBhsd, kBshd, kThd };

/// How a Case's tensors lie in memory: the axis order and what is unusual about it.
struct Memory {
  AxisOrder order = AxisOrder::kBhsd;  ///< thd is bshd with batch 1
  std::int64_t gap = 0;                ///< elements between rows (after every head_dim run)
  bool broadcast_kv = false;           ///< K and V have stride 0 over their heads
  bool dim2 = false;                   ///< the last stride is 2
  bool huge_batch = false;             ///< the batch stride is beyond 2^31 elements
  bool huge_seq = false;               ///< the sequence stride is beyond 2^31 elements
  bool page_end = false;               ///< the last element ends at an unmapped page
  bool mixed = false;                  ///< every tensor lies differently
  bool alias = false;                  ///< q = k = v
  bool v_in_k = false;                 ///< V is the first head_dim_v columns of K
  int nan_level = 0;                   ///< 0 finite poison in hidden slots, 1 and 2 NaN there (semantics.md)
  bool operator==(const Memory&) const = default;
};

/// Which tensor of a Case, for layouts that differ between them and for input streams. The order is part of
/// the meaning of a seed: never change it. kBlockMask has no layout.
enum class TensorRole : std::int32_t {
  kQ = 0,
  kK = 1,
  kV = 2,
  kOut = 3,
  kLse = 4,
  kSink = 5,
  kDOut = 6,
  kBlockMask = 7
};

/// Strides of a tensor and the elements its memory spans (from the first to one past the last, gaps
/// included).
struct StridedLayout {
  Shape stride;
  std::int64_t span;
};

/// Lays a tensor of `shape` out as `memory` says. lse is dense in the order given (its dim stride is 1). With v_in_k,
/// V is a view of K with K's strides and is not laid out here. Requires a span below 2^63 (require_judgeable).
StridedLayout lay_out(const Memory& memory, TensorRole role, const Shape& shape);

/// `bhsd`, `bshd+gap8`, `thd+gap3`, `bhsd+dim2+mixed`, ...
std::string to_string(const Memory& memory);

}  // namespace ringproof

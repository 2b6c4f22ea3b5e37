#pragma once

#include <hwy/aligned_allocator.h>

#include <cstdint>
#include <vector>

#include "reference/oracle/fast/panel_kernels.h"
#include "reference/oracle/fast/range_table.h"
#include "reference/spec/tensor.h"

namespace ringproof {

template <class T>
using Aligned = hwy::AlignedFreeUniquePtr<T[]>;

/// `count` zeros, aligned for the kernels.
template <class T>
Aligned<T> aligned_zeros(std::int64_t count);

inline std::int64_t groups_of(std::int64_t count) { return (count + kGroup - 1) / kGroup; }

/// One head of K and V as the kernels want them: widened once, in groups of eight, missing keys and columns 0. What is
/// summed in single precision is scaled by powers of two to at most 1, so that squares neither overflow nor vanish.
struct PackedHead {
  std::int64_t keys, head_dim_qk, head_dim_v;
  bool is_finite = true;
  Aligned<double> k;        ///< [groups of keys][head_dim_qk][8]
  Aligned<float> k_abs;     ///< |k| / k_unit
  double k_unit = 1;        ///< a power of two, at least the largest |k|
  double k_max = 0;         ///< largest |k|
  Aligned<double> v;        ///< [groups of columns][padded keys][8]
  Aligned<float> v_single;  ///< v / v_unit, and below |v| / v_unit, (v / v_unit)^2, ((v - centre) / v_unit)^2
  Aligned<float> v_abs, v_squared, v_centred_squared;
  std::vector<double> v_unit, v_centre;  ///< [columns]; v_unit at least twice the largest |v| of the column
  std::vector<double> v_max;             ///< [columns] largest |v|
  std::vector<double> k_abs_sum;         ///< [keys]
  std::vector<RangeTable> v_ranges;      ///< [groups of columns]
  std::vector<RangeTable> k_ranges;      ///< one table of width 1, of k_abs_sum

  std::int64_t padded_keys() const { return groups_of(keys) * kGroup; }
};

/// Packs head h of batch b. Where is_finite comes out false the rest means nothing.
PackedHead pack_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, int threads);

/// Rows of Q as one panel.
struct PackedPanel {
  Aligned<double> q;     ///< [head_dim][queries]
  Aligned<float> q_abs;  ///< |q| / unit
  double unit = 1;       ///< a power of two, at least the largest |q|
  bool is_finite = true;
  std::vector<double> q_abs_sum;  ///< [queries]
};

/// Packs rows [begin, end) of Q's head h; end - begin <= queries, missing rows are 0. `panel` has room already.
void pack_panel(const TensorView& q, std::int64_t b, std::int64_t h, std::int64_t begin, std::int64_t end,
                std::int64_t queries, PackedPanel& panel);

}  // namespace ringproof

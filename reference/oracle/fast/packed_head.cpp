// Storage is decoded here and nowhere else, once per head (K, V) or panel (Q): O(n d) beside O(n^2 d).

#include "reference/oracle/fast/packed_head.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ringproof {
namespace {

[[maybe_unused]] constexpr std::uintptr_t kHugePage = 2 << 20;

// A power of two above `magnitude`; 1 for 0, and for infinity, which nobody packs on.
double unit_of(double magnitude) {
  return magnitude > 0 && std::isfinite(magnitude) ? std::ldexp(1.0, std::ilogb(magnitude) + 1) : 1.0;
}

void pack_k(const TensorView& k, std::int64_t b, std::int64_t h, PackedHead& head) {
  for (std::int64_t j = 0; j < head.keys; ++j) {
    double* const to = head.k.get() + j / kGroup * head.head_dim_qk * kGroup + j % kGroup;
    double sum = 0;
    for (std::int64_t c = 0; c < head.head_dim_qk; ++c) {
      const double value = k.load(b, h, j, c);
      to[c * kGroup] = value;
      sum += std::fabs(value);
      head.k_max = std::max(head.k_max, std::fabs(value));
    }
    head.k_abs_sum[static_cast<std::size_t>(j)] = sum;
    head.is_finite = head.is_finite && std::isfinite(sum);
  }
  head.k_unit = unit_of(head.k_max);
  const double scale = 1 / head.k_unit;
  for (std::int64_t at = 0; at < head.padded_keys() * head.head_dim_qk; ++at) {
    head.k_abs[at] = static_cast<float>(std::fabs(head.k[at]) * scale);
  }
}

void pack_v_group(const TensorView& v, std::int64_t b, std::int64_t h, std::int64_t group, PackedHead& head) {
  const std::int64_t first = group * kGroup, columns = std::min(kGroup, head.head_dim_v - first);
  double* const packed = head.v.get() + first * head.padded_keys();
  double sum[kGroup]{}, maximum[kGroup]{};
  for (std::int64_t j = 0; j < head.keys; ++j) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const double value = v.load(b, h, j, first + c);
      packed[j * kGroup + c] = value;
      sum[c] += value;
      maximum[c] = std::max(maximum[c], std::fabs(value));
    }
  }
  double centre[kGroup]{}, scale[kGroup]{};
  for (std::int64_t c = 0; c < columns; ++c) {
    const auto column = static_cast<std::size_t>(first + c);
    head.v_max[column] = maximum[c];
    head.v_centre[column] = centre[c] = head.keys > 0 ? sum[c] / static_cast<double>(head.keys) : 0;
    head.v_unit[column] = 2 * unit_of(maximum[c]);
    scale[c] = 1 / head.v_unit[column];
  }
  for (std::int64_t j = 0; j < head.keys; ++j) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t at = first * head.padded_keys() + j * kGroup + c;
      const double value = packed[j * kGroup + c], scaled = value * scale[c];
      const double distance = (value - centre[c]) * scale[c];
      head.v_single[at] = static_cast<float>(scaled);
      head.v_abs[at] = static_cast<float>(std::fabs(scaled));
      head.v_squared[at] = static_cast<float>(scaled * scaled);
      head.v_centred_squared[at] = static_cast<float>(distance * distance);
    }
  }
}

}  // namespace

template <class T>
Aligned<T> aligned_zeros(std::int64_t count) {
  Aligned<T> memory = hwy::AllocateAligned<T>(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)));
  if (!memory) throw Error("no memory for the oracle's scratch; free some or choose a shorter case");
#if defined(__linux__)
  // Streams of many megabytes: pages of 2 MiB save the translation of addresses.
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory.get()) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = reinterpret_cast<std::uintptr_t>(memory.get() + count) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish, no more
#endif
  std::memset(memory.get(), 0, static_cast<std::size_t>(count) * sizeof(T));
  return memory;
}

template Aligned<double> aligned_zeros(std::int64_t);
template Aligned<float> aligned_zeros(std::int64_t);

PackedHead pack_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, int threads) {
  PackedHead head{k.shape[2], k.shape[3], v.shape[3]};
  const std::int64_t k_count = head.padded_keys() * head.head_dim_qk, groups = groups_of(head.head_dim_v),
                     v_count = head.padded_keys() * groups * kGroup;
  head.k = aligned_zeros<double>(k_count);
  head.k_abs = aligned_zeros<float>(k_count);
  head.v = aligned_zeros<double>(v_count);
  for (auto* single : {&head.v_single, &head.v_abs, &head.v_squared, &head.v_centred_squared}) {
    *single = aligned_zeros<float>(v_count);
  }
  head.k_abs_sum.resize(static_cast<std::size_t>(head.keys));
  for (auto* column : {&head.v_unit, &head.v_centre, &head.v_max}) {
    column->assign(static_cast<std::size_t>(head.head_dim_v), 0);
  }
  parallel_for(groups + 1, threads, [&](std::int64_t item) {
    if (item == 0) {
      pack_k(k, b, h, head);
    } else {
      pack_v_group(v, b, h, item - 1, head);
    }
  });
  for (const double centre : head.v_centre) head.is_finite = head.is_finite && std::isfinite(centre);
  for (std::int64_t group = 0; group < groups; ++group) {
    head.v_ranges.emplace_back(head.v.get() + group * kGroup * head.padded_keys(), head.keys, kGroup);
  }
  head.k_ranges.emplace_back(head.k_abs_sum.data(), head.keys, 1);
  return head;
}

void pack_panel(const TensorView& q, std::int64_t b, std::int64_t h, std::int64_t begin, std::int64_t end,
                std::int64_t queries, PackedPanel& panel) {
  const std::int64_t head_dim = q.shape[3];
  double maximum = 0;
  panel.is_finite = true;
  panel.q_abs_sum.assign(static_cast<std::size_t>(queries), 0);
  for (std::int64_t i = 0; i < queries; ++i) {
    for (std::int64_t c = 0; c < head_dim; ++c) {
      const double value = begin + i < end ? q.load(b, h, begin + i, c) : 0;
      panel.q[c * queries + i] = value;
      panel.q_abs_sum[static_cast<std::size_t>(i)] += std::fabs(value);
      maximum = std::max(maximum, std::fabs(value));
    }
    panel.is_finite = panel.is_finite && std::isfinite(panel.q_abs_sum[static_cast<std::size_t>(i)]);
  }
  panel.unit = unit_of(maximum);
  const double scale = 1 / panel.unit;
  for (std::int64_t at = 0; at < head_dim * queries; ++at) {
    panel.q_abs[at] = static_cast<float>(std::fabs(panel.q[at]) * scale);
  }
}

}  // namespace ringproof

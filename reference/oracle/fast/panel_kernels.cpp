// Matrix products of a panel with lanes as queries: a register tile of 3 vectors of queries by 8 (with 16 registers: 4)
// keys or columns. One operand is loaded, the other broadcast, so a row's maximum and its sums need no horizontal
// operation. One template serves Q K^T and P V in double, and the sums that only bounds want in single precision at
// twice the rate.
//
//   2^x = 2^(k / 16) 2^r,  k = round(16 x), |r| <= 1/32: 2^(k / 16) from a table of 16 entries (bits of 2^(j / 16)
//   minus j 2^48, so that adding k 2^48 sets the exponent), 2^r - 1 = r p(r), p of degree 5 interpolated at Chebyshev
//   nodes, wrong by at most 0.13 2^-53. The last step s + s (r p) rounds once; the table's entries are rounded once.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reference/oracle/fast/panel_kernels.cpp"
// AVX-512, AVX2 and the baseline; what lies between gains little.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include "reference/oracle/fast/panel_kernels.h"

#include <hwy/foreach_target.h>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace ringproof::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr int kBroadcasts = 8;  // of 32 registers, 24 hold the tile
#else
constexpr int kBroadcasts = 4;
#endif
constexpr int kVectors = 3;
using Doubles = hn::ScalableTag<double>;
using Vector = hn::Vec<Doubles>;
constexpr std::int64_t kLanes = hn::MaxLanes(Doubles());
constexpr std::int64_t kQueries = 2 * kVectors * kLanes;  // one tile of floats (scalar: two), two of doubles

// The register tile: sum[b][query] = sum_t a[t][query] b[t][b]; `b` steps by kGroup.
template <class T>
struct Tile {
  using Tag = hn::ScalableTag<T>;
  static constexpr std::int64_t kL = hn::MaxLanes(Tag());
  hn::Vec<Tag> sum[kBroadcasts][kVectors];

  HWY_INLINE void multiply(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, std::int64_t length) {
    const Tag tag;
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) sum[i][0] = sum[i][1] = sum[i][2] = hn::Zero(tag);
#pragma GCC unroll 1
    for (std::int64_t t = 0; t < length; ++t, a += kQueries, b += kGroup) {
      hwy::Prefetch(b + 24 * kGroup);
      const auto a0 = hn::Load(tag, a), a1 = hn::Load(tag, a + kL), a2 = hn::Load(tag, a + 2 * kL);
#pragma GCC unroll 8
      for (int i = 0; i < kBroadcasts; ++i) {
        const auto factor = hn::Set(tag, b[i]);
        sum[i][0] = hn::MulAdd(a0, factor, sum[i][0]);
        sum[i][1] = hn::MulAdd(a1, factor, sum[i][1]);
        sum[i][2] = hn::MulAdd(a2, factor, sum[i][2]);
      }
    }
  }
};

// A block of keys by a whole panel, one tile's width of the panel at a time, so that it stays in the first-level cache.
template <class T>
HWY_INLINE void score_tiles(const T* q, const T* k, std::int64_t head_dim, T scale, T* score) {
  const hn::ScalableTag<T> tag;
  constexpr std::int64_t kL = Tile<T>::kL;
  for (std::int64_t at = 0; at < kQueries; at += kVectors * kL) {
    for (std::int64_t key = 0; key < kBlockKeys; key += kBroadcasts) {
      Tile<T> tile;
      tile.multiply(q + at, k + key / kGroup * head_dim * kGroup + key % kGroup, head_dim);
#pragma GCC unroll 8
      for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v)
          hn::Store(hn::Mul(tile.sum[i][v], hn::Set(tag, scale)), tag, score + (key + i) * kQueries + at + v * kL);
      }
    }
  }
}

template <class T>
HWY_INLINE void value_tiles(const T* weight, const T* v, std::int64_t groups, const T* rescale, T* out) {
  const hn::ScalableTag<T> tag;
  constexpr std::int64_t kL = Tile<T>::kL;
  for (std::int64_t at = 0; at < kQueries; at += kVectors * kL) {
    for (std::int64_t column = 0; column < groups * kGroup; column += kBroadcasts) {
      Tile<T> tile;
      tile.multiply(weight + at, v + column / kGroup * kBlockKeys * kGroup + column % kGroup, kBlockKeys);
#pragma GCC unroll 8
      for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) {
          T* const to = out + (column + i) * kQueries + at + v * kL;
          const auto older = hn::Mul(hn::Load(tag, to), hn::Load(tag, rescale + at + v * kL));
          hn::Store(hn::Add(older, tile.sum[i][v]), tag, to);
        }
      }
    }
  }
}

void scores(const double* q, const float* q_abs, const double* k, const float* k_abs, std::int64_t head_dim,
            double scale, double* score, float* d) {
  score_tiles<double>(q, k, head_dim, scale, score);
  if (d != nullptr) score_tiles<float>(q_abs, k_abs, head_dim, 1.0f, d);
}

void values(const double* weight, const double* v, std::int64_t groups, const double* rescale, double* out) {
  value_tiles<double>(weight, v, groups, rescale, out);
}

void values_single(const float* weight, const float* v, std::int64_t groups, const float* rescale, float* out) {
  value_tiles<float>(weight, v, groups, rescale, out);
}

alignas(128) constexpr std::uint64_t kPowers[16] = {
    0x3ff0000000000000u, 0x3fefb5586cf9890fu, 0x3fef72b83c7d517bu, 0x3fef387a6e756238u,
    0x3fef06fe0a31b715u, 0x3feedea64c123422u, 0x3feebfdad5362a27u, 0x3feeab07dd485429u,
    0x3feea09e667f3bcdu, 0x3feea11473eb0187u, 0x3feeace5422aa0dbu, 0x3feec49182a3f090u,
    0x3feee89f995ad3adu, 0x3fef199bdd85529cu, 0x3fef5818dcfba487u, 0x3fefa4afa2a490dau};

// 2^x for x <= 0; 0 below -1021.
HWY_INLINE Vector exp2_of(Vector x) {
  const Doubles tag;
  const Vector magic = hn::Set(tag, 0x1.8p52 / 16);
  const Vector index = hn::Add(x, magic);  // its low bits are round(16 x)
  const Vector r = hn::Sub(x, hn::Sub(index, magic));
  Vector p = hn::Set(tag, 1.5403723980749256e-4);
  p = hn::MulAdd(p, r, hn::Set(tag, 1.3333781576784268e-3));
  p = hn::MulAdd(p, r, hn::Set(tag, 9.618129106919537e-3));
  p = hn::MulAdd(p, r, hn::Set(tag, 5.55041086566393e-2));
  p = hn::MulAdd(p, r, hn::Set(tag, 2.4022650695910075e-1));
  p = hn::MulAdd(p, r, hn::Set(tag, 6.931471805599457e-1));
  p = hn::Mul(p, r);
  const hn::RebindToUnsigned<Doubles> bits_tag;
  const auto k = hn::BitCast(bits_tag, index);
#if HWY_TARGET <= HWY_AVX3
  // Highway 1.0.3 has no lookup over two vectors.
  const hn::Vec<hn::RebindToUnsigned<Doubles>> entry{
      _mm512_permutex2var_epi64(_mm512_load_si512(kPowers), k.raw, _mm512_load_si512(kPowers + 8))};
#else
  const hn::RebindToSigned<Doubles> index_tag;
  const auto entry = hn::GatherIndex(bits_tag, kPowers, hn::BitCast(index_tag, hn::And(k, hn::Set(bits_tag, 15))));
#endif
  const Vector power = hn::BitCast(tag, hn::Add(entry, hn::ShiftLeft<48>(k)));
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(tag, -1021.0)), hn::MulAdd(power, p, power));
}

void exp2(const double* x, double* y, std::int64_t count) {
  const Doubles tag;
  for (std::int64_t i = 0; i < count; i += kLanes) hn::Store(exp2_of(hn::Load(tag, x + i)), tag, y + i);
}

HWY_INLINE Vector at_most(Vector x, double limit) { return hn::Min(x, hn::Set(Doubles(), limit)); }

// exp(-gap). A weight whose gap reaches 1000 is 0, and 0 times infinity must not be formed.
HWY_INLINE Vector weight_of(Vector gap) {
  return exp2_of(hn::Neg(hn::Mul(gap, hn::Set(Doubles(), 0x1.71547652b82fep+0))));
}

HWY_INLINE void store_single(Vector x, float* to) {
  const hn::Rebind<float, Doubles> half_tag;
  hn::Store(hn::DemoteTo(half_tag, x), half_tag, to);
}

// Older sums to the new maximum, which lies `rise` above the old one: gap + rise in place of gap.
HWY_INLINE Vector rescale_sums(const PanelSums& sums, std::int64_t at, Vector rise, bool with_statistics) {
  const Doubles tag;
  const auto load = [&](const double* from) { return hn::Load(tag, from + at); };
  const auto store = [&](Vector x, double* to) { hn::Store(x, tag, to + at); };
  const Vector r = weight_of(rise), weight = load(sums.weight);
  store(r, sums.rescale);
  store(hn::Mul(r, weight), sums.weight);
  if (!with_statistics) return r;
  store_single(r, sums.rescale_single + at);
  store_single(hn::Mul(r, r), sums.rescale_squared + at);
  const Vector gap = load(sums.gap), by_weight = hn::MulAdd(rise, weight, gap);
  store(hn::Mul(r, hn::MulAdd(rise, hn::Add(by_weight, gap), load(sums.gap_squared))), sums.gap_squared);
  store(hn::Mul(r, by_weight), sums.gap);
  store(hn::Mul(hn::Mul(r, r), load(sums.weight_squared)), sums.weight_squared);
  store(hn::Mul(r, load(sums.d)), sums.d);
  store(hn::Mul(r, load(sums.d_squared)), sums.d_squared);
  return r;
}

HWY_INLINE void add_to(double* sum, Vector term) {
  const Doubles tag;
  hn::Store(hn::Add(hn::Load(tag, sum), term), tag, sum);
}

// The largest and least score and the largest D of a block, into the sums; how far the maximum rose.
template <bool kStatistics>
HWY_INLINE Vector take_extremes(const double* score, const float* d, std::int64_t at, const PanelSums& sums) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> half_tag;
  const Vector infinity = hn::Set(tag, std::numeric_limits<double>::infinity());
  const Vector before = hn::Load(tag, sums.score_max + at);
  Vector largest = before, least = infinity;
  auto d_largest = hn::Zero(half_tag);
  for (std::int64_t j = 0; j < kBlockKeys; ++j) {
    const Vector s = hn::Load(tag, score + j * kQueries + at);
    largest = hn::Max(largest, s);
    if constexpr (kStatistics) {
      least = hn::Min(least, hn::IfThenElse(hn::Gt(s, hn::Neg(infinity)), s, infinity));
      d_largest = hn::Max(d_largest, hn::Load(half_tag, d + j * kQueries + at));
    }
  }
  hn::Store(largest, tag, sums.score_max + at);
  if constexpr (kStatistics) {
    hn::Store(hn::Min(least, hn::Load(tag, sums.score_min + at)), tag, sums.score_min + at);
    hn::Store(hn::Max(hn::PromoteTo(tag, d_largest), hn::Load(tag, sums.d_max + at)), tag, sums.d_max + at);
  }
  return at_most(hn::Sub(largest, before), 1000.0);
}

// One block of keys, one vector of queries.
template <bool kStatistics>
HWY_INLINE void weights_of_block(double* score, float* d, float* weight_squared, std::int64_t at,
                                 const PanelSums& sums) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> half_tag;
  const Vector rise = take_extremes<kStatistics>(score, d, at, sums);
  rescale_sums(sums, at, rise, kStatistics);
  const Vector maximum = hn::Load(tag, sums.score_max + at);
  Vector w_sum = hn::Zero(tag), ww_sum = w_sum, d_sum = w_sum, dd_sum = w_sum, gap_sum = w_sum, gap2_sum = w_sum;
  for (std::int64_t j = 0; j < kBlockKeys; ++j) {
    const std::int64_t from = j * kQueries + at;
    const Vector gap = at_most(hn::Sub(maximum, hn::Load(tag, score + from)), 1000.0);
    const Vector w = weight_of(gap);
    w_sum = hn::Add(w_sum, w);
    hn::Store(w, tag, score + from);
    if constexpr (kStatistics) {
      const Vector magnitude = hn::PromoteTo(tag, hn::Load(half_tag, d + from));
      const auto w_single = hn::DemoteTo(half_tag, w);
      const Vector w_d = hn::Mul(w, magnitude), w_gap = hn::Mul(w, gap);
      ww_sum = hn::MulAdd(w, w, ww_sum);
      d_sum = hn::Add(d_sum, w_d);
      dd_sum = hn::MulAdd(w_d, magnitude, dd_sum);
      gap_sum = hn::Add(gap_sum, w_gap);
      gap2_sum = hn::MulAdd(w_gap, gap, gap2_sum);
      hn::Store(w_single, half_tag, d + from);
      hn::Store(hn::Mul(w_single, w_single), half_tag, weight_squared + from);
    }
  }
  add_to(sums.weight + at, w_sum);
  if constexpr (kStatistics) {
    add_to(sums.weight_squared + at, ww_sum);
    add_to(sums.d + at, d_sum);
    add_to(sums.d_squared + at, dd_sum);
    add_to(sums.gap + at, gap_sum);
    add_to(sums.gap_squared + at, gap2_sum);
  }
}

void weights(double* score, float* d, float* weight_squared, const PanelSums& sums) {
  for (std::int64_t at = 0; at < kQueries; at += kLanes) {
    if (d != nullptr) {
      weights_of_block<true>(score, d, weight_squared, at, sums);
    } else {
      weights_of_block<false>(score, d, weight_squared, at, sums);
    }
  }
}

#if HWY_TARGET <= HWY_AVX2
// Four keys of a vector of queries at a time: 4 x 4 transpositions within each 128 bits.
void transpose(const double* score, double factor, float* rows, std::int64_t stride) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> single_tag;
  const hn::Full128<float> four_tag;
  const Vector by = hn::Set(tag, factor);
  const auto load = [&](std::int64_t key, std::int64_t at) {
    return hn::DemoteTo(single_tag, hn::Mul(hn::Load(tag, score + key * kQueries + at), by));
  };
  for (std::int64_t at = 0; at < kQueries; at += kLanes) {
    for (std::int64_t key = 0; key < kBlockKeys; key += 4) {
      const auto a = load(key, at), b = load(key + 1, at), c = load(key + 2, at), d = load(key + 3, at);
      const auto ac = hn::InterleaveLower(single_tag, a, c), bd = hn::InterleaveLower(single_tag, b, d);
      const auto ac_upper = hn::InterleaveUpper(single_tag, a, c), bd_upper = hn::InterleaveUpper(single_tag, b, d);
      const decltype(ac) out[4]{hn::InterleaveLower(single_tag, ac, bd), hn::InterleaveUpper(single_tag, ac, bd),
                                hn::InterleaveLower(single_tag, ac_upper, bd_upper),
                                hn::InterleaveUpper(single_tag, ac_upper, bd_upper)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        float* const to = rows + (at + i) * stride + key;
#if HWY_TARGET <= HWY_AVX3
        hn::StoreU(hn::LowerHalf(four_tag, out[i]), four_tag, to);
        hn::StoreU(hn::UpperHalf(four_tag, out[i]), four_tag, to + 4 * stride);
#else
        hn::StoreU(out[i], four_tag, to);
#endif
      }
    }
  }
}
#else
void transpose(const double* score, double factor, float* rows, std::int64_t stride) {
  for (std::int64_t at = 0; at < kQueries; ++at) {
    for (std::int64_t key = 0; key < kBlockKeys; ++key)
      rows[at * stride + key] = static_cast<float>(score[key * kQueries + at] * factor);
  }
}
#endif

#if HWY_TARGET <= HWY_AVX3
// One vector holds kThinnedKeys keys; a prefix maximum takes four shifts.
ThinnedRow thin_rises(const float* scores, std::int64_t keys, float near_tie, float* forth, float* back) {
  const hn::ScalableTag<float> tag;
  const auto nothing = hn::Set(tag, -std::numeric_limits<float>::infinity()), tie = hn::Set(tag, near_tie);
  const hn::RebindToSigned<decltype(tag)> index_tag;
  const auto lane = hn::Iota(index_tag, 0);
  const auto shifted = [&](auto x, int by) {  // x[i - by], -inf where there is none
    const auto from = hn::Sub(lane, hn::Set(index_tag, by));
    const auto inside = hn::And(hn::Gt(from, hn::Set(index_tag, -1)), hn::Lt(from, hn::Set(index_tag, 16)));
    const auto moved = hn::TableLookupLanes(x, hn::IndicesFromVec(tag, hn::And(from, hn::Set(index_tag, 15))));
    return hn::IfThenElse(hn::RebindMask(tag, inside), moved, nothing);
  };
  ThinnedRow row;
  for (std::int64_t key = 0; key < keys; key += kThinnedKeys) {
    const auto x = hn::LoadU(tag, scores + key);
    auto before = shifted(x, 1), behind = shifted(x, -1);
    const auto above = hn::Add(x, tie);
    row.ascents_forth = std::max<std::int64_t>(row.ascents_forth, hn::CountTrue(tag, hn::Gt(above, before)));
    row.ascents_back = std::max<std::int64_t>(row.ascents_back, hn::CountTrue(tag, hn::Gt(above, behind)));
#pragma GCC unroll 4
    for (int by = 1; by < 16; by *= 2) {
      before = hn::Max(before, shifted(before, by));
      behind = hn::Max(behind, shifted(behind, -by));
    }
    row.forth += static_cast<std::int64_t>(hn::CompressStore(x, hn::Gt(above, before), tag, forth + row.forth));
    row.back += static_cast<std::int64_t>(hn::CompressStore(x, hn::Gt(above, behind), tag, back + row.back));
  }
  return row;
}
#else
// One direction: begin and end count in steps of kStep.
template <std::int64_t kStep>
HWY_INLINE std::int64_t ascents_of(const float* first, float near_tie, std::uint32_t& kept) {
  float largest = -std::numeric_limits<float>::infinity(), last = largest;
  std::int64_t ascents = 0;
  for (std::int64_t i = 0; i < kThinnedKeys; ++i) {
    const float x = first[kStep * i], above = x + near_tie;
    ascents += above > last;
    kept |= static_cast<std::uint32_t>(above > largest) << (kStep > 0 ? i : kThinnedKeys - 1 - i);
    largest = std::max(largest, x);
    last = x;
  }
  return ascents;
}

ThinnedRow thin_rises(const float* scores, std::int64_t keys, float near_tie, float* forth, float* back) {
  ThinnedRow row;
  for (std::int64_t key = 0; key < keys; key += kThinnedKeys) {
    std::uint32_t kept_forth = 0, kept_back = 0;
    row.ascents_forth = std::max(row.ascents_forth, ascents_of<1>(scores + key, near_tie, kept_forth));
    row.ascents_back = std::max(row.ascents_back, ascents_of<-1>(scores + key + kThinnedKeys - 1, near_tie, kept_back));
    for (std::int64_t i = 0; i < kThinnedKeys; ++i) {
      if ((kept_forth >> i & 1) != 0) forth[row.forth++] = scores[key + i];
      if ((kept_back >> i & 1) != 0) back[row.back++] = scores[key + i];
    }
  }
  return row;
}
#endif

PanelKernels kernels() {
  return {hwy::TargetName(HWY_TARGET), kQueries, scores, weights, values, values_single, transpose, thin_rises, exp2};
}

}  // namespace ringproof::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ringproof {

HWY_EXPORT(kernels);
PanelKernels panel_kernels() { return HWY_DYNAMIC_DISPATCH(kernels)(); }

}  // namespace ringproof
#endif

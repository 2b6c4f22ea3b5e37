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

// c[b][query] = scale * sum_t a[t][query] b[t][b], or c += the sum; `b` steps by kGroup.
template <class T, bool kAdd>
HWY_INLINE void tile(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, std::int64_t length, T scale,
                     T* HWY_RESTRICT c) {
  const hn::ScalableTag<T> tag;
  constexpr std::int64_t kL = hn::MaxLanes(tag);
  hn::Vec<hn::ScalableTag<T>> sum[kBroadcasts][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kBroadcasts; ++i) sum[i][0] = sum[i][1] = sum[i][2] = hn::Zero(tag);
#pragma GCC unroll 1
  for (std::int64_t t = 0; t < length; ++t, a += kQueries, b += kGroup) {
    hwy::Prefetch(b + 24 * kGroup);  // a group's eight columns lie apart, too far for the processor to guess
    const auto a0 = hn::Load(tag, a), a1 = hn::Load(tag, a + kL), a2 = hn::Load(tag, a + 2 * kL);
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) {
      const auto factor = hn::Set(tag, b[i]);
      sum[i][0] = hn::MulAdd(a0, factor, sum[i][0]);
      sum[i][1] = hn::MulAdd(a1, factor, sum[i][1]);
      sum[i][2] = hn::MulAdd(a2, factor, sum[i][2]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      T* const at = c + i * kQueries + v * kL;
      if constexpr (kAdd) {
        hn::Store(hn::Add(hn::Load(tag, at), sum[i][v]), tag, at);
      } else {
        hn::Store(hn::Mul(sum[i][v], hn::Set(tag, scale)), tag, at);
      }
    }
  }
}

// `groups` of eight keys or columns by a whole panel; b_stride lies between groups. One tile's width of the panel at a
// time goes through all groups, so that it stays in the first-level cache.
template <class T, bool kAdd>
HWY_INLINE void panel_tiles(const T* a, const T* b, std::int64_t b_stride, std::int64_t groups, std::int64_t length,
                            T scale, T* c) {
  constexpr std::int64_t kWidth = kVectors * hn::MaxLanes(hn::ScalableTag<T>());
  for (std::int64_t at = 0; at < kQueries; at += kWidth) {
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t i = 0; i < kGroup; i += kBroadcasts) {
        tile<T, kAdd>(a + at, b + group * b_stride + i, length, scale, c + (group * kGroup + i) * kQueries + at);
      }
    }
  }
}

void scores(const double* q, const float* q_abs, const double* k, const float* k_abs, std::int64_t head_dim,
            std::int64_t groups, double scale, double* score, float* d) {
  panel_tiles<double, false>(q, k, head_dim * kGroup, groups, head_dim, scale, score);
  panel_tiles<float, false>(q_abs, k_abs, head_dim * kGroup, groups, head_dim, 1.0f, d);
}

void values(const double* weight, const double* v, std::int64_t v_stride, std::int64_t groups, std::int64_t keys,
            double* out) {
  panel_tiles<double, true>(weight, v, v_stride, groups, keys, 1.0, out);
}

void values_single(const float* weight, const float* v, std::int64_t v_stride, std::int64_t groups, std::int64_t keys,
                   float* out) {
  panel_tiles<float, true>(weight, v, v_stride, groups, keys, 1.0f, out);
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

void extremes(const double* score, const float* d, std::int64_t keys, const PanelSums& sums) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> half_tag;
  const Vector infinity = hn::Set(tag, std::numeric_limits<double>::infinity());
  for (std::int64_t at = 0; at < kQueries; at += kLanes) {
    Vector largest = hn::Neg(infinity), least = infinity;
    auto d_largest = hn::Zero(half_tag);
    for (std::int64_t j = 0; j < keys; ++j) {
      const Vector s = hn::Load(tag, score + j * kQueries + at);
      largest = hn::Max(largest, s);
      least = hn::Min(least, hn::IfThenElse(hn::Gt(s, hn::Neg(infinity)), s, infinity));
      d_largest = hn::Max(d_largest, hn::Load(half_tag, d + j * kQueries + at));
    }
    hn::Store(largest, tag, sums.score_max + at);
    hn::Store(least, tag, sums.score_min + at);
    hn::Store(hn::PromoteTo(tag, d_largest), tag, sums.d_max + at);
  }
}

void rises(const double* score, std::int64_t keys, const double* near_tie, double* rises) {
  const Doubles tag;
  const Vector one = hn::Set(tag, 1.0), least = hn::Set(tag, -std::numeric_limits<double>::infinity());
  for (std::int64_t at = 0; at < kQueries; at += kLanes) {
    const Vector tie = hn::Load(tag, near_tie + at);
    Vector forth = hn::Zero(tag), back = forth, forth_largest = least, back_largest = least;
    for (std::int64_t j = 0; j < keys; ++j) {
      const Vector ahead = hn::Load(tag, score + j * kQueries + at);
      const Vector behind = hn::Load(tag, score + (keys - 1 - j) * kQueries + at);
      forth = hn::Add(forth, hn::IfThenElseZero(hn::Gt(ahead, hn::Sub(forth_largest, tie)), one));
      back = hn::Add(back, hn::IfThenElseZero(hn::Gt(behind, hn::Sub(back_largest, tie)), one));
      forth_largest = hn::Max(forth_largest, ahead);
      back_largest = hn::Max(back_largest, behind);
    }
    hn::Store(hn::Sub(hn::Max(forth, back), one), tag, rises + at);
  }
}

HWY_INLINE void add_to(double* sum, Vector term) {
  const Doubles tag;
  hn::Store(hn::Add(hn::Load(tag, sum), term), tag, sum);
}

// One block of keys, one vector of queries.
HWY_INLINE void weights_of_block(double* score, float* d, float* weight_squared, std::int64_t keys, std::int64_t at,
                                 const PanelSums& sums) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> half_tag;
  const Vector maximum = hn::Load(tag, sums.score_max + at), log2_e = hn::Set(tag, 0x1.71547652b82fep+0);
  Vector w_sum = hn::Zero(tag), ww_sum = w_sum, d_sum = w_sum, dd_sum = w_sum, gap_sum = w_sum, gap2_sum = w_sum;
  for (std::int64_t j = 0; j < keys; ++j) {
    const std::int64_t from = j * kQueries + at;
    // A weight whose gap reaches 1000 is 0, and 0 times infinity must not be formed.
    const Vector gap = hn::Min(hn::Sub(maximum, hn::Load(tag, score + from)), hn::Set(tag, 1000.0));
    const Vector w = exp2_of(hn::Neg(hn::Mul(gap, log2_e)));
    const Vector magnitude = hn::PromoteTo(tag, hn::Load(half_tag, d + from));
    const auto w_single = hn::DemoteTo(half_tag, w);
    const Vector w_d = hn::Mul(w, magnitude), w_gap = hn::Mul(w, gap);
    w_sum = hn::Add(w_sum, w);
    ww_sum = hn::MulAdd(w, w, ww_sum);
    d_sum = hn::Add(d_sum, w_d);
    dd_sum = hn::MulAdd(w_d, magnitude, dd_sum);
    gap_sum = hn::Add(gap_sum, w_gap);
    gap2_sum = hn::MulAdd(w_gap, gap, gap2_sum);
    hn::Store(w, tag, score + from);
    hn::Store(w_single, half_tag, d + from);
    hn::Store(hn::Mul(w_single, w_single), half_tag, weight_squared + from);
  }
  add_to(sums.weight + at, w_sum);
  add_to(sums.weight_squared + at, ww_sum);
  add_to(sums.d + at, d_sum);
  add_to(sums.d_squared + at, dd_sum);
  add_to(sums.gap + at, gap_sum);
  add_to(sums.gap_squared + at, gap2_sum);
}

void weights(double* score, float* d, float* weight_squared, std::int64_t keys, const PanelSums& sums) {
  for (std::int64_t at = 0; at < kQueries; at += kLanes) {
    weights_of_block(score, d, weight_squared, keys, at, sums);
  }
}

PanelKernels kernels() {
  return {hwy::TargetName(HWY_TARGET), kQueries, scores, extremes, rises, weights, values, values_single, exp2};
}

}  // namespace ringproof::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ringproof {

HWY_EXPORT(kernels);
PanelKernels panel_kernels() { return HWY_DYNAMIC_DISPATCH(kernels)(); }

}  // namespace ringproof
#endif

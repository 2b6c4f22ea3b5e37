// Matrix products of a panel with lanes as queries: a register tile of 3 vectors of queries by 8 (with 16 registers: 4)
// keys or columns. One operand is loaded, the other broadcast, so a row's maximum and its sums need no horizontal
// operation. The loaded operand of a tile lies together and stays in the first-level cache, the other streams through.
// One template serves Q K^T and P V in double, and the sums that only bounds want in single precision at twice the
// rate; where the processor multiplies pairs of bf16 (vdpbf16ps) they run at four times it.
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

#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
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
constexpr std::int64_t kHalf = kVectors * kLanes;  // one tile of doubles
constexpr std::int64_t kQueries = 2 * kHalf;       // one tile of floats

// To the second-level cache: the first holds the other operand.
template <class T>
HWY_INLINE void prefetch(const T* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, 2);
#else
  static_cast<void>(at);
#endif
}

// The register tile: sum[b][query] = sum_t a[t][query] b[t * step + b * stride].
template <class T>
struct Tile {
  using Tag = hn::ScalableTag<T>;
  static constexpr std::int64_t kL = hn::MaxLanes(Tag()), kWidth = sizeof(T) == 8 ? kHalf : kQueries;
  static constexpr int kV = static_cast<int>(kWidth / kL);  // 3, or of scalar floats 6
  hn::Vec<Tag> sum[kBroadcasts][kV];

  HWY_INLINE void multiply(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, std::int64_t step, std::int64_t stride,
                           std::int64_t length) {
    const Tag tag;
    // The numbers of the next tile follow these: each step asks for a part of them.
    const T* next = b + kBroadcasts * (stride == 1 ? kBlockKeys : stride);
    constexpr std::int64_t kLine = kBroadcasts;
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 6
      for (int v = 0; v < kV; ++v) sum[i][v] = hn::Zero(tag);
    }
#pragma GCC unroll 1
    for (std::int64_t t = 0; t < length; ++t, a += kWidth, b += step, next += kLine) {
      prefetch(next);
      hn::Vec<Tag> loaded[kV];
#pragma GCC unroll 6
      for (int v = 0; v < kV; ++v) loaded[v] = hn::Load(tag, a + v * kL);
#pragma GCC unroll 8
      for (int i = 0; i < kBroadcasts; ++i) {
        const auto factor = hn::Set(tag, b[i * stride]);
#pragma GCC unroll 6
        for (int v = 0; v < kV; ++v) sum[i][v] = hn::MulAdd(loaded[v], factor, sum[i][v]);
      }
    }
  }

  // to[b][query] = factor * sum
  HWY_INLINE void store(hn::Vec<Tag> factor, T* to) const {
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 6
      for (int v = 0; v < kV; ++v) hn::Store(hn::Mul(sum[i][v], factor), Tag(), to + i * kWidth + v * kL);
    }
  }

  // to[b][query] = to * rescale[query] + sum
  HWY_INLINE void add(const T* rescale, T* to) const {
    const Tag tag;
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 6
      for (int v = 0; v < kV; ++v) {
        T* const at = to + i * kWidth + v * kL;
        hn::Store(hn::MulAdd(hn::Load(tag, at), hn::Load(tag, rescale + v * kL), sum[i][v]), tag, at);
      }
    }
  }
};

void scores(const double* q, const double* k, std::int64_t k_stride, std::int64_t head_dim, double scale,
            std::int64_t halves, double* score) {
  const auto factor = hn::Set(Doubles(), scale);
  for (std::int64_t half = 0; half < halves; ++half) {
    for (std::int64_t key = 0; key < kBlockKeys; key += kBroadcasts) {
      Tile<double> tile;
      tile.multiply(q + half * head_dim * kHalf, k + key * k_stride, 1, k_stride, head_dim);
      tile.store(factor, score + (half * kBlockKeys + key) * kHalf);
    }
  }
}

void values(const double* weight, const double* v, std::int64_t groups, const double* rescale, std::int64_t halves,
            double* out) {
  for (std::int64_t half = 0; half < halves; ++half) {
    for (std::int64_t column = 0; column < groups * kGroup; column += kBroadcasts) {
      Tile<double> tile;
      tile.multiply(weight + half * kBlockKeys * kHalf, v + column / kGroup * kBlockKeys * kGroup + column % kGroup,
                    kGroup, 1, kBlockKeys);
      tile.add(rescale + half * kHalf, out + (half * groups * kGroup + column) * kHalf);
    }
  }
}

// A word is a float.
struct Singles {
  static constexpr std::int64_t kPerWord = 1;
  HWY_INLINE static void multiply(Tile<float>& tile, const Word* a, const Word* b, std::int64_t step,
                                  std::int64_t stride, std::int64_t length) {
    tile.multiply(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b), step, stride, length);
  }
};

#if HWY_TARGET <= HWY_AVX3 && defined(__x86_64__)
// A word is two bf16: as Tile<float>::multiply, both products of a pair into one sum. The instruction is written out,
// as its intrinsic would ask for a target of its own beside those that Highway compiles.
struct Pairs {
  static constexpr std::int64_t kPerWord = 2;
  HWY_INLINE static void add_product(__m512& sum, __m512i a, __m512i b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  HWY_INLINE static void multiply(Tile<float>& tile, const Word* HWY_RESTRICT a, const Word* HWY_RESTRICT b,
                                  std::int64_t step, std::int64_t stride, std::int64_t length) {
    __m512 sum[kBroadcasts][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) sum[i][0] = sum[i][1] = sum[i][2] = _mm512_setzero_ps();
    const Word* next = b + kBroadcasts * (stride == 1 ? length : stride);
#pragma GCC unroll 1
    for (std::int64_t t = 0; t < length; ++t, a += kQueries, b += step, next += kBroadcasts) {
      prefetch(next);
      const __m512i a0 = _mm512_load_si512(a), a1 = _mm512_load_si512(a + 16), a2 = _mm512_load_si512(a + 32);
#pragma GCC unroll 8
      for (int i = 0; i < kBroadcasts; ++i) {
        const __m512i factor = _mm512_set1_epi32(static_cast<int>(b[i * stride]));
        add_product(sum[i][0], a0, factor);
        add_product(sum[i][1], a1, factor);
        add_product(sum[i][2], a2, factor);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kBroadcasts; ++i) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) tile.sum[i][v].raw = sum[i][v];
    }
  }
};
#endif

template <class Words>
HWY_INLINE void magnitudes_of(const Word* q_abs, const Word* k_abs, std::int64_t k_stride, std::int64_t words,
                              float* d) {
  for (std::int64_t key = 0; key < kBlockKeys; key += kBroadcasts) {
    Tile<float> tile;
    Words::multiply(tile, q_abs, k_abs + key * k_stride, 1, k_stride, words);
    tile.store(hn::Set(Tile<float>::Tag(), 1.0f), d + key * kQueries);
  }
}

template <class Words>
HWY_INLINE void values_of_words(const Word* weight, const Word* v, std::int64_t groups, const float* rescale,
                                float* out) {
  constexpr std::int64_t kWords = kBlockKeys / Words::kPerWord;
  for (std::int64_t column = 0; column < groups * kGroup; column += kBroadcasts) {
    Tile<float> tile;
    Words::multiply(tile, weight, v + column / kGroup * kWords * kGroup + column % kGroup, kGroup, 1, kWords);
    tile.add(rescale, out + column * kQueries);
  }
}

void magnitudes(const Word* q_abs, const Word* k_abs, std::int64_t k_stride, std::int64_t words, float* d) {
  magnitudes_of<Singles>(q_abs, k_abs, k_stride, words, d);
}
void values_single(const Word* weight, const Word* v, std::int64_t groups, const float* rescale, float* out) {
  values_of_words<Singles>(weight, v, groups, rescale, out);
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

// tanh x = (1 - t) / (1 + t), t = exp(-2 |x|): absolutely as good as t is.
void cap(double* score, std::int64_t halves, double softcap) {
  const Doubles tag;
  const Vector one = hn::Set(tag, 1.0), by = hn::Set(tag, softcap),
               exponent = hn::Set(tag, -0x1.71547652b82fep+1 / softcap);
  for (std::int64_t i = 0; i < halves * kBlockKeys * kHalf; i += kLanes) {
    const Vector s = hn::Load(tag, score + i), t = exp2_of(hn::Mul(hn::Abs(s), exponent));
    const Vector magnitude = hn::Mul(by, hn::Div(hn::Sub(one, t), hn::Add(one, t)));
    hn::Store(hn::CopySign(magnitude, s), tag, score + i);
  }
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

// The largest and least score and the largest D of a block, into the sums; how far the maximum rose. `score` and `d`
// point to the first key's queries.
template <bool kStatistics>
HWY_INLINE Vector take_extremes(const double* score, const float* d, std::int64_t at, const PanelSums& sums) {
  const Doubles tag;
  const hn::Rebind<float, Doubles> half_tag;
  const Vector infinity = hn::Set(tag, std::numeric_limits<double>::infinity());
  const Vector before = hn::Load(tag, sums.score_max + at);
  Vector largest[2] = {before, before}, least = infinity;
  auto d_largest = hn::Zero(half_tag);
  for (std::int64_t j = 0; j < kBlockKeys; j += 2) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const Vector s = hn::Load(tag, score + (j + i) * kHalf);
      largest[i] = hn::Max(largest[i], s);
      if constexpr (kStatistics) {
        least = hn::Min(least, hn::IfThenElse(hn::Gt(s, hn::Neg(infinity)), s, infinity));
        d_largest = hn::Max(d_largest, hn::Load(half_tag, d + (j + i) * kQueries));
      }
    }
  }
  largest[0] = hn::Max(largest[0], largest[1]);
  hn::Store(largest[0], tag, sums.score_max + at);
  if constexpr (kStatistics) {
    hn::Store(hn::Min(least, hn::Load(tag, sums.score_min + at)), tag, sums.score_min + at);
    hn::Store(hn::Max(hn::PromoteTo(tag, d_largest), hn::Load(tag, sums.d_max + at)), tag, sums.d_max + at);
  }
  return at_most(hn::Sub(largest[0], before), 1000.0);
}

using HalfTag = hn::Rebind<float, Doubles>;

// Positive numbers, nearest bf16 in the upper half of each word.
HWY_INLINE hn::Vec<hn::Rebind<Word, Doubles>> rounded_to_bf16(hn::Vec<HalfTag> x) {
  const hn::Rebind<Word, Doubles> tag;
  return hn::Add(hn::BitCast(tag, x), hn::Set(tag, 0x8000u));
}

// The words of one vector of queries for kPerWord keys, given as singles.
template <int kPerWord>
HWY_INLINE void store_words(const hn::Vec<HalfTag>* x, Word* to) {
  const hn::Rebind<Word, Doubles> tag;
  if constexpr (kPerWord == 1) {
    hn::Store(hn::BitCast(tag, x[0]), tag, to);
  } else {
    const auto upper = hn::And(rounded_to_bf16(x[1]), hn::Set(tag, 0xffff0000u));
    hn::Store(hn::Or(hn::ShiftRight<16>(rounded_to_bf16(x[0])), upper), tag, to);
  }
}

// One block of keys, one vector of queries. kPerWord 0: without statistics.
template <int kPerWord>
HWY_INLINE void weights_of_block(double* score, const float* d, Word* weight, Word* weight_squared, std::int64_t at,
                                 const PanelSums& sums) {
  const Doubles tag;
  const HalfTag half_tag;
  constexpr int kTogether = kPerWord == 0 ? 2 : kPerWord;
  score += at / kHalf * kBlockKeys * kHalf + at % kHalf;
  const Vector rise = take_extremes<(kPerWord > 0)>(score, d + at, at, sums);
  rescale_sums(sums, at, rise, kPerWord > 0);
  const Vector maximum = hn::Load(tag, sums.score_max + at);
  Vector w_sum = hn::Zero(tag), ww_sum = w_sum, d_sum = w_sum, dd_sum = w_sum, gap_sum = w_sum, gap2_sum = w_sum;
  for (std::int64_t j = 0; j < kBlockKeys; j += kTogether) {
    hn::Vec<HalfTag> single[kTogether], squared[kTogether];
#pragma GCC unroll 2
    for (int i = 0; i < kTogether; ++i) {
      const Vector gap = at_most(hn::Sub(maximum, hn::Load(tag, score + (j + i) * kHalf)), 1000.0);
      const Vector w = weight_of(gap);
      w_sum = hn::Add(w_sum, w);
      hn::Store(w, tag, score + (j + i) * kHalf);
      if constexpr (kPerWord > 0) {
        const Vector magnitude = hn::PromoteTo(tag, hn::Load(half_tag, d + (j + i) * kQueries + at));
        const Vector w_d = hn::Mul(w, magnitude), w_gap = hn::Mul(w, gap);
        ww_sum = hn::MulAdd(w, w, ww_sum);
        d_sum = hn::Add(d_sum, w_d);
        dd_sum = hn::MulAdd(w_d, magnitude, dd_sum);
        gap_sum = hn::Add(gap_sum, w_gap);
        gap2_sum = hn::MulAdd(w_gap, gap, gap2_sum);
        single[i] = hn::DemoteTo(half_tag, w);
        squared[i] = hn::Mul(single[i], single[i]);
      }
    }
    if constexpr (kPerWord > 0) {
      store_words<kPerWord>(single, weight + j / kPerWord * kQueries + at);
      store_words<kPerWord>(squared, weight_squared + j / kPerWord * kQueries + at);
    }
  }
  add_to(sums.weight + at, w_sum);
  if constexpr (kPerWord > 0) {
    add_to(sums.weight_squared + at, ww_sum);
    add_to(sums.d + at, d_sum);
    add_to(sums.d_squared + at, dd_sum);
    add_to(sums.gap + at, gap_sum);
    add_to(sums.gap_squared + at, gap2_sum);
  }
}

template <int kPerWord>
void weights(double* score, const float* d, Word* weight, Word* weight_squared, std::int64_t halves,
             const PanelSums& sums) {
  for (std::int64_t at = 0; at < halves * kHalf; at += kLanes) {
    if (d != nullptr) {
      weights_of_block<kPerWord>(score, d, weight, weight_squared, at, sums);
    } else {
      weights_of_block<0>(score, nullptr, nullptr, nullptr, at, sums);
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
    const double* const from = score + (at / kHalf * kBlockKeys + key) * kHalf + at % kHalf;
    return hn::DemoteTo(single_tag, hn::Mul(hn::Load(tag, from), by));
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
    for (std::int64_t key = 0; key < kBlockKeys; ++key) {
      const double value = score[(at / kHalf * kBlockKeys + key) * kHalf + at % kHalf];
      rows[at * stride + key] = static_cast<float>(value * factor);
    }
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
    // Whole vectors are stored: storing some lanes alone takes a hundred cycles on some processors.
    const auto kept_forth = hn::Gt(above, before), kept_back = hn::Gt(above, behind);
    hn::StoreU(hn::Compress(x, kept_forth), tag, forth + row.forth);
    hn::StoreU(hn::Compress(x, kept_back), tag, back + row.back);
    row.forth += static_cast<std::int64_t>(hn::CountTrue(tag, kept_forth));
    row.back += static_cast<std::int64_t>(hn::CountTrue(tag, kept_back));
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

#if HWY_TARGET <= HWY_AVX3 && defined(__x86_64__)
void magnitudes_of_pairs(const Word* q_abs, const Word* k_abs, std::int64_t k_stride, std::int64_t words, float* d) {
  magnitudes_of<Pairs>(q_abs, k_abs, k_stride, words, d);
}
void values_of_pairs(const Word* weight, const Word* v, std::int64_t groups, const float* rescale, float* out) {
  values_of_words<Pairs>(weight, v, groups, rescale, out);
}
#endif

PanelKernels kernels(bool pairs) {
  PanelKernels all{hwy::TargetName(HWY_TARGET),
                   kQueries,
                   kHalf,
                   1,
                   scores,
                   cap,
                   magnitudes,
                   weights<1>,
                   values,
                   values_single,
                   transpose,
                   thin_rises,
                   exp2};
#if HWY_TARGET <= HWY_AVX3 && defined(__x86_64__)
  if (pairs) {
    all.per_word = 2;
    all.magnitudes = magnitudes_of_pairs;
    all.weights = weights<2>;
    all.values_single = values_of_pairs;
  }
#endif
  static_cast<void>(pairs);
  return all;
}

}  // namespace ringproof::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ringproof {
namespace {
std::atomic<bool> pairs_are_allowed{true};
}

HWY_EXPORT(kernels);
PanelKernels panel_kernels() { return HWY_DYNAMIC_DISPATCH(kernels)(has_pairs()); }

bool has_pairs() {
#if defined(__x86_64__)
  return pairs_are_allowed && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

void allow_pairs_for_test(bool is_allowed) { pairs_are_allowed = is_allowed; }

}  // namespace ringproof
#endif

// Storage becomes doubles elsewhere; here rows of doubles become what the panel's kernels read. O(n d), but done once
// for a few hundred rows of Q where rows are sampled, so it runs on vectors too.
//
// A double becomes a single by rounding to nearest, and that a bf16 by adding half a unit to its bits: nearest too, for
// either sign.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reference/oracle/fast/pack_kernels.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include "reference/oracle/fast/pack_kernels.h"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ringproof::packing::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Doubles = hn::ScalableTag<double>;
using Vector = hn::Vec<Doubles>;
using SingleTag = hn::Rebind<float, Doubles>;
using WordTag = hn::Rebind<Word, Doubles>;
constexpr std::int64_t kLanes = hn::MaxLanes(Doubles());

double survey(const double* row, std::int64_t count, double* largest, double* sum) {
  const Doubles tag;
  Vector zero = hn::Zero(tag);
  for (std::int64_t c = 0; c < count; c += kLanes) {
    const Vector x = hn::Load(tag, row + c);
    hn::Store(hn::Max(hn::Load(tag, largest + c), hn::Abs(x)), tag, largest + c);
    if (sum != nullptr) hn::Store(hn::Add(hn::Load(tag, sum + c), x), tag, sum + c);
    zero = hn::MulAdd(hn::Zero(tag), x, zero);
  }
  return hn::GetLane(hn::SumOfLanes(tag, zero));
}

// Nearest bf16 in the upper half of each word.
HWY_INLINE hn::Vec<WordTag> rounded_to_bf16(Vector x) {
  return hn::Add(hn::BitCast(WordTag(), hn::DemoteTo(SingleTag(), x)), hn::Set(WordTag(), 0x8000u));
}

template <int kPerWord>
double magnitude_words(const double* row, std::int64_t count, double inverse, Word* words) {
  const Doubles tag;
  const Vector least = hn::Set(tag, 0x1p-60), by = hn::Set(tag, inverse);
  Vector sum = hn::Zero(tag);
  for (std::int64_t c = 0; c < count; c += kLanes) {
    const Vector x = hn::Abs(hn::Load(tag, row + c));
    sum = hn::Add(sum, x);
    const Vector scaled = hn::IfThenElseZero(hn::Gt(x, hn::Zero(tag)), hn::Max(hn::Mul(x, by), least));
    if constexpr (kPerWord == 1) {
      hn::Store(hn::BitCast(WordTag(), hn::DemoteTo(SingleTag(), scaled)), WordTag(), words + c);
    } else {
      const hn::Rebind<std::uint16_t, Doubles> bf16_tag;
      const auto upper = hn::BitCast(hn::Rebind<std::int32_t, Doubles>(), hn::ShiftRight<16>(rounded_to_bf16(scaled)));
      hn::StoreU(hn::DemoteTo(bf16_tag, upper), bf16_tag, reinterpret_cast<std::uint16_t*>(words) + c);
    }
  }
  return hn::GetLane(hn::SumOfLanes(tag, sum));
}

// Words of one vector of columns of kPerWord keys.
template <int kPerWord>
HWY_INLINE void store_words(const Vector* x, Word* to) {
  const WordTag tag;
  if constexpr (kPerWord == 1) {
    hn::Store(hn::BitCast(tag, hn::DemoteTo(SingleTag(), x[0])), tag, to);
  } else {
    const auto upper = hn::And(rounded_to_bf16(x[1]), hn::Set(tag, 0xffff0000u));
    hn::Store(hn::Or(hn::ShiftRight<16>(rounded_to_bf16(x[0])), upper), tag, to);
  }
}

template <int kPerWord>
void pack_values(const double* row, std::int64_t rows, std::int64_t columns, std::int64_t key, const ColumnFacts* facts,
                 const PackedBlock& to) {
  const Doubles tag;
  const std::int64_t padded = groups_of(columns) * kGroup, stride = row_room(columns);
  double* const sums = to.v_sums + key / PackedBlock::kSumKeys * padded;
  double* const maxima = to.v_maxima + key / PackedBlock::kSumKeys * padded;
  for (std::int64_t c = 0; c < padded; c += kLanes) {
    const auto store = [&](const Vector* x, Word* array) {
      const std::int64_t group = c / kGroup * (kBlockKeys / kPerWord) + key / kPerWord;
      store_words<kPerWord>(x, array + group * kGroup + c % kGroup);
    };
    Vector single[kPerWord], magnitude[kPerWord], square[kPerWord], centred[kPerWord];
    for (std::int64_t i = 0; i < kPerWord; ++i) {
      const bool is_there = i < rows;
      const Vector x = is_there ? hn::Load(tag, row + i * stride + c) : hn::Zero(tag);
      if (is_there) hn::Store(x, tag, to.v + (c / kGroup * kBlockKeys + key + i) * kGroup + c % kGroup);
      if (facts == nullptr) continue;
      const Vector by = hn::Load(tag, facts->inverse + c), absolute = hn::Abs(x);
      hn::Store(hn::Add(hn::Load(tag, sums + c), absolute), tag, sums + c);
      hn::Store(hn::Max(hn::Load(tag, maxima + c), absolute), tag, maxima + c);
      const Vector distance = hn::Mul(hn::Sub(x, hn::Load(tag, facts->centre + c)), by);
      single[i] = hn::Mul(x, by);
      magnitude[i] = hn::Abs(single[i]);
      square[i] = hn::Mul(single[i], single[i]);
      centred[i] = hn::Mul(distance, distance);
    }
    if (facts == nullptr) continue;
    store(single, to.v_single);
    store(magnitude, to.v_abs);
    store(square, to.v_squared);
    store(centred, to.v_centred_squared);
  }
}

PackKernels kernels(bool pairs) {
#if HWY_TARGET <= HWY_AVX3 && defined(__x86_64__)
  if (pairs) return {2, survey, magnitude_words<2>, pack_values<2>};
#endif
  static_cast<void>(pairs);
  return {1, survey, magnitude_words<1>, pack_values<1>};
}

}  // namespace ringproof::packing::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ringproof {
namespace packing {
HWY_EXPORT(kernels);
PackKernels chosen() { return HWY_DYNAMIC_DISPATCH(kernels)(has_pairs()); }
}  // namespace packing

PackKernels pack_kernels() { return packing::chosen(); }

}  // namespace ringproof
#endif

// D = A B + C in three arithmetics.
//
// Sequential: c, then the products in ascending order of k, each sum rounded to fp32. Every product of two 16-bit
// floats is exact in fp32 unless it leaves its range.
//
// Exact, then rounded: products and sums in double, with the rounding error of each sum (Knuth's two-sum). If all
// errors are 0 the sum was exact; if not, it is done again as an expansion of doubles that do not overlap (Shewchuk
// 1997).
//
// Hopper: with E the largest exponent among the 16 products and c, every term is cut (toward zero) to a multiple of
// 2^(E - 25), the 17 multiples are added as integers, and the sum is rounded toward zero to fp32. A product's exponent
// is the sum of its factors' exponents (its significand may reach 4), a subnormal's or zero's exponent is the least
// normal one. (Model of Hopper's tensor core after MMA-Sim, arXiv 2511.10909.)

#include "gpu/simt/mma.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "gpu/simt/float16.h"

// The widest vectors the machine has, chosen when the program starts; same bits, as nothing is contracted.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RINGPROOF_WIDEST_VECTORS __attribute__((target_clones("default", "avx2")))
#else
#define RINGPROOF_WIDEST_VECTORS
#endif

namespace ringproof::simt::host {
namespace {

constexpr int kM = 16, kN = 8, kK = 16;
constexpr std::uint32_t kCanonicalNan = 0x7fffffffu;

struct FloatTile {
  alignas(64) float a[kM][kK];
  alignas(64) float b[kK][kN];
};

/// A row of 8, in the form that both g++ and clang++ turn into vector instructions as it stands.
using Row = float __attribute__((vector_size(kN * sizeof(float))));

/// Four rows at a time: their sums do not wait for each other.
RINGPROOF_WIDEST_VECTORS void add_products(const FloatTile& factors, float (&c)[kM][kN]) {
  constexpr int kRows = 4;
  for (int m = 0; m < kM; m += kRows) {
    Row sum[kRows];
    for (int i = 0; i < kRows; ++i) std::memcpy(&sum[i], c[m + i], sizeof(Row));
    for (int k = 0; k < kK; ++k) {
      Row b;
      std::memcpy(&b, factors.b[k], sizeof(b));
      for (int i = 0; i < kRows; ++i) sum[i] += factors.a[m + i][k] * b;
    }
    for (int i = 0; i < kRows; ++i) std::memcpy(c[m + i], &sum[i], sizeof(Row));
  }
}

template <class T>
FloatTile unpack(const MmaTile& tile) {
  FloatTile floats;
  for (int m = 0; m < kM; ++m) {
    for (int k = 0; k < kK; ++k) floats.a[m][k] = to_float(T{tile.a[m][k]});
  }
  for (int k = 0; k < kK; ++k) {
    for (int n = 0; n < kN; ++n) floats.b[k][n] = to_float(T{tile.b[k][n]});
  }
  return floats;
}

struct Sum {
  double value, error;  // value + error is the exact sum
};

Sum two_sum(double x, double y) {
  const double value = x + y, y_rounded = value - x;
  return {value, (x - (value - y_rounded)) + (y - y_rounded)};
}

/// The exact sum of finite `terms`, rounded to nearest fp32.
float round_exact_sum(const double (&terms)[kK + 1]) {
  double parts[kK + 2];  // ascending, not overlapping
  std::size_t count = 0;
  for (double term : terms) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Sum sum = two_sum(term, parts[i]);
      if (sum.error != 0) parts[kept++] = sum.error;
      term = sum.value;
    }
    parts[kept++] = term;
    count = kept;
  }
  // Rounding to odd first: the second rounding, to fewer bits, is then the only one that counts.
  double head = parts[count - 1];
  double rest = 0;
  for (std::size_t i = count - 1; i-- > 0 && rest == 0;) rest = parts[i];
  if (rest != 0 && (std::bit_cast<std::uint64_t>(head) & 1u) == 0) {
    head = std::nextafter(head, rest > 0 ? HUGE_VAL : -HUGE_VAL);
  }
  return static_cast<float>(head);
}

void add_products_exactly(const FloatTile& factors, float (&c)[kM][kN]) {
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      double terms[kK + 1] = {static_cast<double>(c[m][n])};
      Sum sum = {terms[0], 0};
      bool exact = true;
      for (int k = 0; k < kK; ++k) {
        terms[k + 1] = static_cast<double>(factors.a[m][k]) * static_cast<double>(factors.b[k][n]);
        sum = two_sum(sum.value, terms[k + 1]);
        exact = exact && sum.error == 0;
      }
      c[m][n] = exact || !std::isfinite(sum.value) ? static_cast<float>(sum.value) : round_exact_sum(terms);
    }
  }
}

/// The significand and exponent of a stored float: value = significand 2^(exponent - fraction bits).
struct Decoded {
  std::int64_t significand;  // with the sign
  int exponent;
};

template <int kFractionBits, int kBias>
Decoded decode(std::uint32_t bits, std::uint32_t sign_bit) {
  const std::uint32_t field = (bits & (sign_bit - 1)) >> kFractionBits;
  const std::int64_t fraction = bits & ((1u << kFractionBits) - 1);
  const std::int64_t magnitude = field == 0 ? fraction : fraction | (std::int64_t{1} << kFractionBits);
  return {(bits & sign_bit) != 0 ? -magnitude : magnitude, static_cast<int>(std::max(field, 1u)) - kBias};
}

template <class T>
struct Format;
template <>
struct Format<bf16> {
  static constexpr int kFractionBits = 7, kBias = 127;
};
template <>
struct Format<fp16> {
  static constexpr int kFractionBits = 10, kBias = 15;
};

constexpr int kKeptFractionBits = 25;

/// Moves a term with `fraction_bits` to the common grid, cutting toward zero.
std::int64_t align(std::int64_t significand, int fraction_bits, int shift) {
  if (shift > 62) return 0;
  const std::int64_t magnitude = std::abs(significand) << (kKeptFractionBits - fraction_bits) >> shift;
  return significand < 0 ? -magnitude : magnitude;
}

/// sum 2^exponent in fp32, rounded toward zero; infinity beyond the range.
float round_toward_zero(std::int64_t sum, int exponent) {
  if (sum == 0) return 0.0f;
  std::uint64_t magnitude = static_cast<std::uint64_t>(std::abs(sum));
  const int leading = 63 - std::countl_zero(magnitude) + exponent;
  if (leading > 127) return sum < 0 ? -HUGE_VALF : HUGE_VALF;
  const int last = std::max(leading - 23, -149);
  if (last > exponent) {
    magnitude = last - exponent > 63 ? 0 : magnitude >> (last - exponent);
  } else {
    magnitude <<= exponent - last;
  }
  const float result = std::ldexp(static_cast<float>(magnitude), last);
  return sum < 0 ? -result : result;
}

template <class T>
float hopper_sum(const Decoded* a, const Decoded* b, float c) {
  const Decoded c_decoded = decode<23, 127>(std::bit_cast<std::uint32_t>(c), 0x80000000u);
  int largest = c_decoded.exponent;
  for (int k = 0; k < kK; ++k) largest = std::max(largest, a[k].exponent + b[k].exponent);
  std::int64_t sum = align(c_decoded.significand, 23, largest - c_decoded.exponent);
  for (int k = 0; k < kK; ++k) {
    sum += align(a[k].significand * b[k].significand, 2 * Format<T>::kFractionBits,
                 largest - a[k].exponent - b[k].exponent);
  }
  return round_toward_zero(sum, largest - kKeptFractionBits);
}

/// With an infinity or NaN among the terms: the sum in double, where no finite product overflows.
float special_sum(const float* a, const float (&b)[kK][kN], int n, float c) {
  double sum = static_cast<double>(c);
  for (int k = 0; k < kK; ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k][n]);
  return std::isnan(sum) ? std::bit_cast<float>(kCanonicalNan) : static_cast<float>(sum);
}

template <class T>
void add_products_as_hopper(MmaTile& tile) {
  const FloatTile floats = unpack<T>(tile);
  Decoded a[kM][kK], b[kN][kK];
  bool a_finite[kM], b_finite[kN];
  const auto decode_all = [](const auto& bits_of, Decoded* out) {
    for (int k = 0; k < kK; ++k) out[k] = decode<Format<T>::kFractionBits, Format<T>::kBias>(bits_of(k), 0x8000u);
  };
  for (int m = 0; m < kM; ++m) {
    decode_all([&](int k) { return tile.a[m][k]; }, a[m]);
    a_finite[m] = std::all_of(floats.a[m], floats.a[m] + kK, [](float x) { return std::isfinite(x); });
  }
  for (int n = 0; n < kN; ++n) {
    decode_all([&](int k) { return tile.b[k][n]; }, b[n]);
    b_finite[n] = true;
    for (int k = 0; k < kK; ++k) b_finite[n] = b_finite[n] && std::isfinite(floats.b[k][n]);
  }
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      const float c = tile.c[m][n];
      tile.c[m][n] = a_finite[m] && b_finite[n] && std::isfinite(c) ? hopper_sum<T>(a[m], b[n], c)
                                                                    : special_sum(floats.a[m], floats.b, n, c);
    }
  }
}

template <class T>
void multiply_accumulate(MmaTile& tile, MmaNumerics numerics) {
  switch (numerics) {
    case MmaNumerics::kSequentialFp32: return add_products(unpack<T>(tile), tile.c);
    case MmaNumerics::kExactThenRound: return add_products_exactly(unpack<T>(tile), tile.c);
    case MmaNumerics::kHopper: return add_products_as_hopper<T>(tile);
  }
}

}  // namespace

void multiply_accumulate_bf16(MmaTile& tile, MmaNumerics numerics) { multiply_accumulate<bf16>(tile, numerics); }
void multiply_accumulate_fp16(MmaTile& tile, MmaNumerics numerics) { multiply_accumulate<fp16>(tile, numerics); }

}  // namespace ringproof::simt::host

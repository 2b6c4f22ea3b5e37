#pragma once

#include <bit>
#include <cstdint>

/// The two 16-bit floating-point formats on the host: stored bits, and conversions that give the same bits as CUDA's.
namespace ringproof::simt::host {

struct bf16 {
  std::uint16_t bits;
};

struct fp16 {
  std::uint16_t bits;
};

/// Exact. NaN stays NaN.
inline float to_float(bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

/// Exact. NaN stays NaN.
inline float to_float(fp16 x) {
  // The bits moved to a float's places read as the value times 2^-112, subnormals included.
  const std::uint32_t magnitude = std::uint32_t{x.bits} & 0x7fffu, sign = std::uint32_t{x.bits} >> 15 << 31;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const bool finite = magnitude < 0x7c00u;
  return std::bit_cast<float>((finite ? std::bit_cast<std::uint32_t>(scaled) : (magnitude << 13) | 0x7f800000u) | sign);
}

/// `value` rounded to nearest, ties to even, as T (bf16 or fp16); overflow gives infinity, any NaN the bits 0x7fff.
template <class T>
T from_float(float value);

template <>
inline bf16 from_float<bf16>(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <>
inline fp16 from_float<fp16>(float value) {
  constexpr std::uint32_t kInfinity = 0x7f800000u, kOverflowFrom = 0x477ff000u, kNormalFrom = 0x38800000u;
  constexpr std::uint32_t kHalf = 0x3f000000u;  // 0.5, whose last place is the last place of a subnormal fp16
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value), magnitude = bits & 0x7fffffffu;
  std::uint32_t result = 0;
  if (magnitude > kInfinity) return {0x7fff};
  if (magnitude >= kOverflowFrom) {
    result = 0x7c00;
  } else if (magnitude < kNormalFrom) {
    const float sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kHalf);
    result = std::bit_cast<std::uint32_t>(sum) - kHalf;
  } else {
    result = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return {static_cast<std::uint16_t>(result | (bits >> 31 << 15))};
}

/// Two values in one register, `low` in the lower half.
template <class T>
std::uint32_t pack(float low, float high) {
  return std::uint32_t{from_float<T>(low).bits} | std::uint32_t{from_float<T>(high).bits} << 16;
}

}  // namespace ringproof::simt::host

#pragma once

#ifdef __FAST_MATH__
#error "Ringproof must not be compiled with fast-math: its bounds assume IEEE arithmetic"
#endif

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ringproof {

/// Storage and operand formats; the values are those of rp_dtype in the plug-in ABI.
enum class Dtype : std::int32_t {
  kDefault = 0,  ///< only inside Arithmetic: "what the storage dtype implies"
  kF64 = 1,
  kF32 = 2,
  kF16 = 3,
  kBf16 = 4,
  kF8E4m3 = 5,
  kF8E5m2 = 6,
  kTf32 = 7,  ///< only as Arithmetic::operand_dtype
};

/// What a binary floating-point format can hold.
struct FormatFacts {
  int precision;         ///< bits of significand, the implicit one included
  int exponent_min;      ///< least normal number is 2^exponent_min
  double finite_max;     ///< largest finite magnitude
  double unit_roundoff;  ///< 2^-precision: relative error of rounding to nearest
  double subnormal_min;  ///< least positive number, 2^(exponent_min - precision + 1); 0 where a double holds
                         ///< none
};

/// The facts of `dtype`. Requires a format, not kDefault.
FormatFacts format_facts(Dtype dtype);

/// True where `one` keeps fewer bits of significand than `other`. Requires formats, not kDefault.
bool is_narrower(Dtype one, Dtype other);

/// "fp64", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "tf32", "default".
std::string_view to_string(Dtype dtype);

/// The storage dtype of that name; nothing for any other text ("default" and "tf32" are no storage dtypes).
std::optional<Dtype> parse_dtype(std::string_view text);

/// Bytes of one stored element. Requires a storage dtype.
std::size_t size_bytes(Dtype dtype);

/// `value` rounded to nearest, ties to even, in one rounding; overflow gives infinity (NaN for fp8_e4m3,
/// which has no infinity), NaN stays NaN. The result is exact as a double.
double round_to(Dtype dtype, double value);

/// Reads the element stored at `address`. Every storage format is exact as a double.
double load(const void* address, Dtype dtype);

/// Stores `round_to(dtype, value)` at `address`; NaN is stored as a quiet NaN.
void store(void* address, Dtype dtype, double value);

/// Half the distance from abs(value) to the next representable magnitude above its binade's start: the
/// largest error of rounding a number of this magnitude to nearest. At and below the subnormal range half the
/// least subnormal.
double half_ulp(Dtype dtype, double value);

}  // namespace ringproof

// Rounds to a format of precision p and least normal exponent e_min by scaling the value so that the last bit
// kept has weight 1, rounding to an integer (ties to even), and scaling back. Scaling by powers of two is
// exact, so there is exactly one rounding, subnormals included. Widening is exact in every format and done by
// rebuilding sign, exponent and fraction; the 16-bit formats go through tables because kernels' whole outputs
// are read this way.

#include "reference/spec/dtype.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct NamedDtype {
  Dtype dtype;
  std::string_view name;
  std::size_t bytes;  // 0: no storage format
};

constexpr std::array<NamedDtype, 8> kNames{{{Dtype::kDefault, "default", 0},
                                            {Dtype::kF64, "fp64", 8},
                                            {Dtype::kF32, "fp32", 4},
                                            {Dtype::kF16, "fp16", 2},
                                            {Dtype::kBf16, "bf16", 2},
                                            {Dtype::kF8E4m3, "fp8_e4m3", 1},
                                            {Dtype::kF8E5m2, "fp8_e5m2", 1},
                                            {Dtype::kTf32, "tf32", 0}}};

// Fields of a stored number of at most 16 bits.
struct BitFields {
  int exponent_bits, fraction_bits;
  bool has_infinity;  // fp8_e4m3 uses the top exponent for numbers and all ones for NaN
};

BitFields bit_fields(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16: return {5, 10, true};
    case Dtype::kBf16: return {8, 7, true};
    case Dtype::kF8E4m3: return {4, 3, false};
    case Dtype::kF8E5m2: return {5, 2, true};
    default: break;
  }
  assert_that(false, "bit fields are asked of formats of at most 16 bits");
  return {};
}

double widen(Dtype dtype, std::uint32_t bits) {
  const BitFields fields = bit_fields(dtype);
  const int total_bits = 1 + fields.exponent_bits + fields.fraction_bits;
  const bool negative = (bits >> (total_bits - 1)) & 1u;
  const std::uint32_t fraction_mask = (1u << fields.fraction_bits) - 1u;
  const std::uint32_t exponent_mask = (1u << fields.exponent_bits) - 1u;
  const std::uint32_t fraction = bits & fraction_mask;
  const std::uint32_t exponent = (bits >> fields.fraction_bits) & exponent_mask;
  const int bias = (1 << (fields.exponent_bits - 1)) - 1;
  double magnitude = 0;
  if (exponent == exponent_mask && fields.has_infinity) {
    magnitude = fraction ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  } else if (exponent == exponent_mask && fraction == fraction_mask) {
    magnitude = std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, 1 - bias - fields.fraction_bits);
  } else {
    magnitude =
        std::ldexp(fraction + (1u << fields.fraction_bits), static_cast<int>(exponent) - bias - fields.fraction_bits);
  }
  return negative ? -magnitude : magnitude;
}

// Requires `value` representable: the result of round_to.
std::uint32_t narrow(Dtype dtype, double value) {
  const BitFields fields = bit_fields(dtype);
  const std::uint32_t exponent_mask = (1u << fields.exponent_bits) - 1u;
  const std::uint32_t sign = std::signbit(value) ? 1u << (fields.exponent_bits + fields.fraction_bits) : 0u;
  const int bias = (1 << (fields.exponent_bits - 1)) - 1;
  if (std::isnan(value)) {
    const std::uint32_t quiet =
        fields.has_infinity ? 1u << (fields.fraction_bits - 1) : (1u << fields.fraction_bits) - 1u;
    return sign | exponent_mask << fields.fraction_bits | quiet;
  }
  if (std::isinf(value)) return sign | exponent_mask << fields.fraction_bits;
  const double magnitude = std::fabs(value);
  if (magnitude < std::ldexp(1.0, 1 - bias)) {
    return sign | static_cast<std::uint32_t>(std::ldexp(magnitude, bias - 1 + fields.fraction_bits));
  }
  const int exponent = std::ilogb(magnitude);
  const auto significand = static_cast<std::uint32_t>(std::ldexp(magnitude, fields.fraction_bits - exponent));
  const std::uint32_t fraction = significand - (1u << fields.fraction_bits);
  return sign | static_cast<std::uint32_t>(exponent + bias) << fields.fraction_bits | fraction;
}

const std::vector<double>& widening_table(Dtype dtype) {
  static const auto make = [](Dtype of) {
    std::vector<double> table(std::size_t{1} << (8 * size_bytes(of)));
    for (std::uint32_t bits = 0; bits < table.size(); ++bits) table[bits] = widen(of, bits);
    return table;
  };
  static const std::vector<double> f16 = make(Dtype::kF16), bf16 = make(Dtype::kBf16);
  static const std::vector<double> e4m3 = make(Dtype::kF8E4m3), e5m2 = make(Dtype::kF8E5m2);
  switch (dtype) {
    case Dtype::kF16: return f16;
    case Dtype::kBf16: return bf16;
    case Dtype::kF8E4m3: return e4m3;
    default: return e5m2;
  }
}

template <class T>
T read_as(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

// 2^exponent, a normal double.
double power_of_two(int exponent) { return std::bit_cast<double>(static_cast<std::uint64_t>(1023 + exponent) << 52); }

// As std::ilogb for normal doubles; below every format's least exponent for subnormal ones.
int exponent_of(double value) { return static_cast<int>(std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ff) - 1023; }

}  // namespace

FormatFacts format_facts(Dtype dtype) {
  const auto facts = [](int precision, int exponent_min, double finite_max) {
    return FormatFacts{precision, exponent_min, finite_max, std::ldexp(1.0, -precision),
                       std::ldexp(1.0, exponent_min - precision + 1)};
  };
  switch (dtype) {
    case Dtype::kF64: return facts(53, -1022, std::numeric_limits<double>::max());
    case Dtype::kF32: return facts(24, -126, std::numeric_limits<float>::max());
    case Dtype::kTf32: return facts(11, -126, std::ldexp(2.0 - std::ldexp(1.0, -10), 127));
    case Dtype::kF16: return facts(11, -14, 65504.0);
    case Dtype::kBf16: return facts(8, -126, std::ldexp(2.0 - std::ldexp(1.0, -7), 127));
    case Dtype::kF8E4m3: return facts(4, -6, 448.0);
    case Dtype::kF8E5m2: return facts(3, -14, 57344.0);
    case Dtype::kDefault: break;
  }
  assert_that(false, "the default dtype has no format; resolve it first");
  return {};
}

bool is_narrower(Dtype one, Dtype other) { return format_facts(one).precision < format_facts(other).precision; }

std::string_view to_string(Dtype dtype) { return kNames.at(static_cast<std::size_t>(dtype)).name; }

std::optional<Dtype> parse_dtype(std::string_view text) {
  for (const NamedDtype& named : kNames) {
    if (named.bytes != 0 && named.name == text) return named.dtype;
  }
  return std::nullopt;
}

std::size_t size_bytes(Dtype dtype) {
  const std::size_t bytes = kNames.at(static_cast<std::size_t>(dtype)).bytes;
  assert_that(bytes != 0, "only storage dtypes have a size");
  return bytes;
}

double round_to(Dtype dtype, double value) {
  if (dtype == Dtype::kF32) return static_cast<float>(value);
  if (dtype == Dtype::kF64 || value == 0 || !std::isfinite(value)) {
    const bool nan_only = dtype == Dtype::kF8E4m3 && std::isinf(value);
    return nan_only ? std::copysign(std::numeric_limits<double>::quiet_NaN(), value) : value;
  }
  const FormatFacts facts = format_facts(dtype);
  const int exponent = std::max(exponent_of(value), facts.exponent_min);
  const int shift = facts.precision - 1 - exponent;
  const double rounded = std::nearbyint(value * power_of_two(shift)) * power_of_two(-shift);
  if (std::fabs(rounded) <= facts.finite_max) return rounded;
  const double beyond =
      dtype == Dtype::kF8E4m3 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  return std::copysign(beyond, value);
}

double load(const void* address, Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64: return read_as<double>(address);
    case Dtype::kF32: return read_as<float>(address);
    case Dtype::kF16:
    case Dtype::kBf16: return widening_table(dtype)[read_as<std::uint16_t>(address)];
    default: return widening_table(dtype)[read_as<std::uint8_t>(address)];
  }
}

void store(void* address, Dtype dtype, double value) {
  switch (dtype) {
    case Dtype::kF64: std::memcpy(address, &value, sizeof value); return;
    case Dtype::kF32: {
      const auto rounded = static_cast<float>(value);
      std::memcpy(address, &rounded, sizeof rounded);
      return;
    }
    case Dtype::kF16:
    case Dtype::kBf16: {
      const auto bits = static_cast<std::uint16_t>(narrow(dtype, round_to(dtype, value)));
      std::memcpy(address, &bits, sizeof bits);
      return;
    }
    default: {
      const auto bits = static_cast<std::uint8_t>(narrow(dtype, round_to(dtype, value)));
      std::memcpy(address, &bits, sizeof bits);
      return;
    }
  }
}

double half_ulp(Dtype dtype, double value) {
  const FormatFacts facts = format_facts(dtype);
  if (std::isnan(value) || std::isinf(value)) return std::numeric_limits<double>::infinity();
  const int exponent = value == 0 ? facts.exponent_min : std::max(std::ilogb(value), facts.exponent_min);
  return std::ldexp(1.0, exponent - facts.precision);
}

}  // namespace ringproof

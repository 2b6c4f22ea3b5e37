// Storage is decoded here and nowhere else: K and V block by block, once for many rows of Q; O(n d) beside O(n^2 d).

#include "reference/oracle/fast/packed_head.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "reference/oracle/parallel.h"

namespace ringproof {
namespace {

constexpr std::int64_t kSurveyKeys = 4096;  // read by one thread at a time

// Largest magnitudes and sums of a run of keys.
struct Survey {
  bool is_finite = true;
  std::vector<double> k_max, v_max, v_sum;
};

Survey survey_keys(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, std::int64_t begin,
                   std::int64_t end) {
  const auto d = static_cast<std::size_t>(k.shape[3]), dv = static_cast<std::size_t>(v.shape[3]);
  Survey survey{true, std::vector<double>(d), std::vector<double>(dv), std::vector<double>(dv)};
  std::vector<double> row(std::max(d, dv));
  for (std::int64_t j = begin; j < end; ++j) {
    double sum = 0;  // of what is 0 unless a number is not finite
    decode_row(k, b, h, j, row.data());
    for (std::size_t c = 0; c < d; ++c) {
      survey.k_max[c] = std::max(survey.k_max[c], std::fabs(row[c]));
      sum += 0 * row[c];
    }
    decode_row(v, b, h, j, row.data());
    for (std::size_t c = 0; c < dv; ++c) {
      survey.v_max[c] = std::max(survey.v_max[c], std::fabs(row[c]));
      survey.v_sum[c] += row[c];
      sum += 0 * row[c];
    }
    survey.is_finite = survey.is_finite && sum == 0;
  }
  return survey;
}

template <class To, class From>
To bits_as(From bits) {
  return std::bit_cast<To>(bits);
}

double of_bf16(std::uint16_t bits) { return bits_as<float>(static_cast<std::uint32_t>(bits) << 16); }

// 2^112 moves the exponent of fp16 to where that of fp32 stands, subnormals included; infinity and NaN need their own.
double of_f16(std::uint16_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffu, sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const double value = static_cast<double>(bits_as<float>(magnitude << 13)) * 0x1p112;
  const double finite = sign != 0 ? -value : value;
  return magnitude < 0x7c00u ? finite : bits_as<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
}

template <class Stored, class Decode>
void decode_dense(const std::byte* from, std::int64_t count, double* to, const Decode& decode) {
  for (std::int64_t c = 0; c < count; ++c) {
    Stored stored;
    std::memcpy(&stored, from + c * static_cast<std::int64_t>(sizeof stored), sizeof stored);
    to[c] = decode(stored);
  }
}

void pack_k(const TensorView& k, std::int64_t b, std::int64_t h, const HeadFacts& facts, std::int64_t begin,
            std::int64_t count, bool with_statistics, const PackedBlock& to) {
  const std::int64_t d = facts.head_dim_qk;
  const double inverse = 1 / facts.k_unit;
  std::vector<double> row(static_cast<std::size_t>(d));
  for (std::int64_t j = 0; j < count; ++j) {
    decode_row(k, b, h, begin + j, row.data());
    const std::int64_t at = j / kGroup * d * kGroup + j % kGroup;
    for (std::int64_t c = 0; c < d; ++c) to.k[at + c * kGroup] = row[c];
    if (!with_statistics) continue;
    double sum = 0;
    for (std::int64_t c = 0; c < d; ++c) {
      const double magnitude = std::fabs(row[c]);
      sum += magnitude;
      to.k_abs[at + c * kGroup] = scaled_magnitude(magnitude, inverse);
    }
    to.k_abs_sum[j] = sum;
  }
}

void pack_v(const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts, std::int64_t begin,
            std::int64_t count, bool with_statistics, const PackedBlock& to) {
  const std::int64_t dv = facts.head_dim_v, padded = groups_of(dv) * kGroup;
  std::vector<double> row(static_cast<std::size_t>(padded)), inverse(row.size()), centre(row.size());
  for (std::int64_t c = 0; c < dv; ++c) {
    inverse[c] = 1 / facts.v_unit[c];
    centre[c] = facts.v_centre[c];
  }
  if (with_statistics) {
    std::fill_n(to.v_sums, kBlockKeys / PackedBlock::kSumKeys * padded, 0.0);
    std::fill_n(to.v_maxima, kBlockKeys / PackedBlock::kSumKeys * padded, 0.0);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    decode_row(v, b, h, begin + j, row.data());
    for (std::int64_t c = 0; c < padded; ++c) to.v[(c / kGroup * kBlockKeys + j) * kGroup + c % kGroup] = row[c];
    if (!with_statistics) continue;
    double* const sums = to.v_sums + j / PackedBlock::kSumKeys * padded;
    double* const maxima = to.v_maxima + j / PackedBlock::kSumKeys * padded;
    for (std::int64_t first = 0; first < padded; first += kGroup) {
      const std::int64_t at = (first / kGroup * kBlockKeys + j) * kGroup;
      for (std::int64_t i = 0; i < kGroup; ++i) {
        const std::int64_t c = first + i;
        const double magnitude = std::fabs(row[c]), x = row[c] * inverse[c], y = (row[c] - centre[c]) * inverse[c];
        sums[c] += magnitude;
        maxima[c] = std::max(maxima[c], magnitude);
        to.v_single[at + i] = static_cast<float>(x);
        to.v_abs[at + i] = static_cast<float>(std::fabs(x));
        to.v_squared[at + i] = static_cast<float>(x * x);
        to.v_centred_squared[at + i] = static_cast<float>(y * y);
      }
    }
  }
}

}  // namespace

double unit_of(double magnitude) {
  return magnitude > 0 && std::isfinite(magnitude) ? std::ldexp(1.0, std::ilogb(magnitude) + 1) : 1.0;
}

float scaled_magnitude(double magnitude, double unit_inverse) {
  const double scaled = magnitude * unit_inverse;
  return static_cast<float>(scaled > 0 && scaled < 0x1p-60 ? 0x1p-60 : scaled);
}

void decode_row(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row, double* to) {
  const std::int64_t count = view.shape[3];
  if (count == 0) return;
  const std::byte* const from = view.at(b, h, row, 0);
  if (view.stride[3] == 1 && view.dtype == Dtype::kF32) {
    decode_dense<float>(from, count, to, [](float x) { return static_cast<double>(x); });
  } else if (view.stride[3] == 1 && view.dtype == Dtype::kBf16) {
    decode_dense<std::uint16_t>(from, count, to, of_bf16);
  } else if (view.stride[3] == 1 && view.dtype == Dtype::kF16) {
    decode_dense<std::uint16_t>(from, count, to, of_f16);
  } else {
    for (std::int64_t c = 0; c < count; ++c) to[c] = view.load(b, h, row, c);
  }
}

HeadFacts survey_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, int threads) {
  HeadFacts facts{k.shape[2], k.shape[3], v.shape[3]};
  const auto d = static_cast<std::size_t>(facts.head_dim_qk), dv = static_cast<std::size_t>(facts.head_dim_v);
  std::vector<Survey> surveys(static_cast<std::size_t>((facts.keys + kSurveyKeys - 1) / kSurveyKeys));
  parallel_for(static_cast<std::int64_t>(surveys.size()), threads, [&](std::int64_t piece) {
    const std::int64_t begin = piece * kSurveyKeys;
    surveys[static_cast<std::size_t>(piece)] =
        survey_keys(k, v, b, h, begin, std::min(begin + kSurveyKeys, facts.keys));
  });
  facts.k_channel_max.assign(d, 0);
  facts.v_unit.assign(dv, 0);
  facts.v_centre.assign(dv, 0);
  for (const Survey& survey : surveys) {
    facts.is_finite = facts.is_finite && survey.is_finite;
    for (std::size_t c = 0; c < d; ++c) facts.k_channel_max[c] = std::max(facts.k_channel_max[c], survey.k_max[c]);
    for (std::size_t c = 0; c < dv; ++c) {
      facts.v_unit[c] = std::max(facts.v_unit[c], survey.v_max[c]);
      facts.v_centre[c] += survey.v_sum[c];
    }
  }
  double k_max = 0;
  for (const double largest : facts.k_channel_max) k_max = std::max(k_max, largest);
  facts.k_unit = unit_of(k_max);
  for (std::size_t c = 0; c < dv; ++c) {
    facts.v_unit[c] = 2 * unit_of(facts.v_unit[c]);
    facts.v_centre[c] /= static_cast<double>(std::max<std::int64_t>(facts.keys, 1));
  }
  return facts;
}

std::int64_t packed_doubles(const HeadFacts& facts) {
  const std::int64_t padded = groups_of(facts.head_dim_v) * kGroup, d = facts.head_dim_qk;
  const std::int64_t doubles = kBlockKeys * (d + padded + 1) + 2 * kBlockKeys / PackedBlock::kSumKeys * padded;
  return doubles + kBlockKeys * (d + 4 * padded) / 2;
}

PackedBlock packed_at(const HeadFacts& facts, double* memory) {
  const std::int64_t padded = groups_of(facts.head_dim_v) * kGroup, d = facts.head_dim_qk;
  const auto take = [&](std::int64_t count) {
    double* const here = memory;
    memory += count;
    return here;
  };
  const auto take_floats = [&](std::int64_t count) { return reinterpret_cast<float*>(take(count / 2)); };
  PackedBlock block{};
  block.k = take(kBlockKeys * d);
  block.v = take(kBlockKeys * padded);
  block.k_abs_sum = take(kBlockKeys);
  block.v_sums = take(kBlockKeys / PackedBlock::kSumKeys * padded);
  block.v_maxima = take(kBlockKeys / PackedBlock::kSumKeys * padded);
  block.k_abs = take_floats(kBlockKeys * d);
  for (float** single : {&block.v_abs, &block.v_squared, &block.v_centred_squared, &block.v_single}) {
    *single = take_floats(kBlockKeys * padded);
  }
  return block;
}

PackedBlock pack_block(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
                       std::int64_t block, bool with_statistics, double* memory) {
  const std::int64_t begin = block * kBlockKeys, count = std::min(kBlockKeys, facts.keys - begin);
  if (count < kBlockKeys) std::memset(memory, 0, static_cast<std::size_t>(packed_doubles(facts)) * sizeof(double));
  const PackedBlock to = packed_at(facts, memory);
  pack_k(k, b, h, facts, begin, count, with_statistics, to);
  pack_v(v, b, h, facts, begin, count, with_statistics, to);
  return to;
}

}  // namespace ringproof

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
  Aligned<double> k_max, v_max, v_sum;
};

Survey survey_keys(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
                   std::int64_t begin, std::int64_t end) {
  const PackKernels kernels = pack_kernels();
  const std::int64_t d = k.shape[3], dv = v.shape[3];
  Survey survey{true, aligned_zeros<double>(row_room(d)), aligned_zeros<double>(row_room(dv)),
                aligned_zeros<double>(row_room(dv))};
  const Aligned<double> k_row = aligned_zeros<double>(row_room(d)), v_row = aligned_zeros<double>(row_room(dv));
  for (std::int64_t j = begin; j < end; ++j) {
    decode_row(k, b, h, j, facts.descale_k, k_row.get());
    decode_row(v, b, h, j, facts.descale_v, v_row.get());
    const double zero = kernels.survey(k_row.get(), d, survey.k_max.get(), nullptr) +
                        kernels.survey(v_row.get(), dv, survey.v_max.get(), survey.v_sum.get());
    survey.is_finite = survey.is_finite && zero == 0;
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
void decode_dense(const std::byte* from, std::int64_t count, double descale, double* to, const Decode& decode) {
  for (std::int64_t c = 0; c < count; ++c) {
    Stored stored;
    std::memcpy(&stored, from + c * static_cast<std::int64_t>(sizeof stored), sizeof stored);
    to[c] = decode(stored) * descale;
  }
}

void pack_k(const PackKernels& kernels, const TensorView& k, std::int64_t b, std::int64_t h, const HeadFacts& facts,
            std::int64_t begin, std::int64_t count, bool with_statistics, const PackedBlock& to) {
  const double inverse = 1 / facts.k_unit;
  for (std::int64_t j = 0; j < count; ++j) {
    double* const row = to.k + j * to.k_stride;
    std::fill(row + facts.head_dim_qk, row + to.k_stride, 0.0);
    decode_row(k, b, h, begin + j, facts.descale_k, row);
    if (!with_statistics) continue;
    to.k_abs_sum[j] = kernels.magnitude_words(row, facts.head_dim_qk, inverse, to.k_abs + j * to.k_abs_stride);
  }
}

// Per column, with room for vectors behind the last.
struct Columns {
  Aligned<double> rows, inverse, centre;
};

Columns columns_of(const HeadFacts& facts, std::int64_t per_word) {
  const std::int64_t room = row_room(facts.head_dim_v);
  Columns columns{aligned_zeros<double>(per_word * room), aligned_zeros<double>(room), aligned_zeros<double>(room)};
  for (std::int64_t c = 0; c < facts.head_dim_v; ++c) {
    columns.inverse[c] = 1 / facts.v_unit[c];
    columns.centre[c] = facts.v_centre[c];
  }
  return columns;
}

void pack_v(const PackKernels& kernels, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
            std::int64_t begin, std::int64_t count, bool with_statistics, const PackedBlock& to) {
  const std::int64_t dv = facts.head_dim_v, sums = kBlockKeys / PackedBlock::kSumKeys * groups_of(dv) * kGroup;
  const Columns columns = columns_of(facts, kernels.per_word);
  const ColumnFacts column_facts{columns.inverse.get(), columns.centre.get()};
  std::fill_n(to.v_sums, sums, 0.0);
  std::fill_n(to.v_maxima, sums, 0.0);
  for (std::int64_t j = 0; j < count; j += kernels.per_word) {
    const std::int64_t rows = std::min(kernels.per_word, count - j);
    for (std::int64_t i = 0; i < rows; ++i)
      decode_row(v, b, h, begin + j + i, facts.descale_v, columns.rows.get() + i * row_room(dv));
    kernels.pack_values(columns.rows.get(), rows, dv, j, with_statistics ? &column_facts : nullptr, to);
  }
}

}  // namespace

double unit_of(double magnitude) {
  return magnitude > 0 && std::isfinite(magnitude) ? std::ldexp(1.0, std::ilogb(magnitude) + 1) : 1.0;
}

void decode_row(const TensorView& view, std::int64_t b, std::int64_t h, std::int64_t row, double descale, double* to) {
  const std::int64_t count = view.shape[3];
  if (count == 0) return;
  const std::byte* const from = view.at(b, h, row, 0);
  if (view.stride[3] == 1 && view.dtype == Dtype::kF32) {
    decode_dense<float>(from, count, descale, to, [](float x) { return static_cast<double>(x); });
  } else if (view.stride[3] == 1 && view.dtype == Dtype::kBf16) {
    decode_dense<std::uint16_t>(from, count, descale, to, of_bf16);
  } else if (view.stride[3] == 1 && view.dtype == Dtype::kF16) {
    decode_dense<std::uint16_t>(from, count, descale, to, of_f16);
  } else {
    for (std::int64_t c = 0; c < count; ++c) to[c] = view.load(b, h, row, c) * descale;
  }
}

HeadFacts survey_head(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, double descale_k,
                      double descale_v, int threads) {
  HeadFacts facts{k.shape[2], k.shape[3], v.shape[3], descale_k, descale_v, pack_kernels().per_word};
  const auto d = static_cast<std::size_t>(facts.head_dim_qk), dv = static_cast<std::size_t>(facts.head_dim_v);
  std::vector<Survey> surveys(static_cast<std::size_t>((facts.keys + kSurveyKeys - 1) / kSurveyKeys));
  parallel_for(static_cast<std::int64_t>(surveys.size()), threads, [&](std::int64_t piece) {
    const std::int64_t begin = piece * kSurveyKeys;
    surveys[static_cast<std::size_t>(piece)] =
        survey_keys(k, v, b, h, facts, begin, std::min(begin + kSurveyKeys, facts.keys));
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

namespace {

// Rows lie an odd number of cache lines apart, so that eight of them share no place in the cache.
std::int64_t k_stride_of(const HeadFacts& facts) { return row_room(facts.head_dim_qk) + 8; }
std::int64_t k_abs_stride_of(const HeadFacts& facts) {
  return (row_room(facts.head_dim_qk) / facts.per_word + 31) / 32 * 32 + 16;
}
std::int64_t v_words_of(const HeadFacts& facts) {
  return groups_of(facts.head_dim_v) * kGroup * kBlockKeys / facts.per_word;
}

}  // namespace

std::int64_t packed_doubles(const HeadFacts& facts, bool with_statistics) {
  const std::int64_t padded = groups_of(facts.head_dim_v) * kGroup;
  const std::int64_t doubles =
      kBlockKeys * (k_stride_of(facts) + padded + 1) + 2 * kBlockKeys / PackedBlock::kSumKeys * padded;
  const std::int64_t words = kBlockKeys * k_abs_stride_of(facts) + 4 * v_words_of(facts);
  return (doubles + (with_statistics ? words / 2 : 0) + 15) / 16 * 16;
}

PackedBlock packed_at(const HeadFacts& facts, double* memory) {
  const std::int64_t padded = groups_of(facts.head_dim_v) * kGroup;
  const auto take = [&](std::int64_t count) {
    double* const here = memory;
    memory += count;
    return here;
  };
  const auto take_words = [&](std::int64_t count) { return reinterpret_cast<Word*>(take(count / 2)); };
  PackedBlock block{};
  block.k_stride = k_stride_of(facts);
  block.k_abs_stride = k_abs_stride_of(facts);
  block.k = take(kBlockKeys * block.k_stride);
  block.v = take(kBlockKeys * padded);
  block.k_abs_sum = take(kBlockKeys);
  block.v_sums = take(kBlockKeys / PackedBlock::kSumKeys * padded);
  block.v_maxima = take(kBlockKeys / PackedBlock::kSumKeys * padded);
  block.k_abs = take_words(kBlockKeys * block.k_abs_stride);
  for (Word** words : {&block.v_abs, &block.v_squared, &block.v_centred_squared, &block.v_single}) {
    *words = take_words(v_words_of(facts));
  }
  return block;
}

PackedBlock pack_block(const TensorView& k, const TensorView& v, std::int64_t b, std::int64_t h, const HeadFacts& facts,
                       std::int64_t block, bool with_statistics, double* memory) {
  const std::int64_t begin = block * kBlockKeys, count = std::min(kBlockKeys, facts.keys - begin);
  if (count < kBlockKeys) {
    std::memset(memory, 0, static_cast<std::size_t>(packed_doubles(facts, with_statistics)) * sizeof(double));
  }
  const PackedBlock to = packed_at(facts, memory);
  const PackKernels kernels = pack_kernels();
  pack_k(kernels, k, b, h, facts, begin, count, with_statistics, to);
  pack_v(kernels, v, b, h, facts, begin, count, with_statistics, to);
  return to;
}

}  // namespace ringproof

// Matrix products as a tensor core of the A100 does them (Khattak & Mikaitis, arXiv 2512.07004): 8 exact products and
// the accumulator are aligned to the largest exponent among them, cut off after 24 fraction bits, added, and the sum
// is rounded toward zero to fp32. Declared. Everything outside the products is ordinary fp32.

#include <array>

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

constexpr int kBlock = 8, kFractionBits = 24;

float toward_zero(double x) {
  const auto nearest = static_cast<float>(x);
  return std::fabs(static_cast<double>(nearest)) <= std::fabs(x) ? nearest : std::nextafter(nearest, 0.0f);
}

// accumulator + sum of the first `count` products, in one step of the unit.
float step(float accumulator, const std::array<double, kBlock>& products, int count) {
  double largest = std::fabs(static_cast<double>(accumulator));
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(products[static_cast<std::size_t>(i)]));
  double sum = 0;
  if (largest == 0 || !std::isfinite(largest)) {  // a NaN beside zeros stays one
    for (int i = 0; i < count; ++i) sum += products[static_cast<std::size_t>(i)];
    return static_cast<float>(accumulator + sum);
  }
  const double unit = std::ldexp(1.0, std::ilogb(largest) - kFractionBits);
  sum = std::trunc(accumulator / unit);
  for (int i = 0; i < count; ++i) sum += std::trunc(products[static_cast<std::size_t>(i)] / unit);
  return toward_zero(sum * unit);
}

template <class Product>
float accumulate(float accumulator, std::int64_t count, const Product& product) {
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    std::array<double, kBlock> products;
    const auto in_block = static_cast<int>(std::min<std::int64_t>(kBlock, count - begin));
    for (int i = 0; i < in_block; ++i) products[static_cast<std::size_t>(i)] = product(begin + i);
    accumulator = step(accumulator, products, in_block);
  }
  return accumulator;
}

struct Truncating {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    float m = -std::numeric_limits<float>::infinity(), l = 0;
    for (std::size_t at = 0; at < row.keys.size(); at += 16) {
      const std::span<const std::int64_t> tile = tile_of(row.keys, at, 16);
      std::vector<float> p;
      float m_new = m;
      for (const std::int64_t key : tile) {
        const auto product = [&](std::int64_t d) { return double{row.q[d]} * row.k.row(key)[d]; };
        p.push_back(accumulate(0, row.problem.head_dim_qk, product) * row.scale);
        m_new = std::max(m_new, p.back());
      }
      const float base = std::isinf(m_new) ? 0.0f : m_new, rescale = std::exp(m - base);
      m = m_new;
      l *= rescale;
      for (float& weight : p) l += weight = std::exp(weight - base);
      for (float& weight : p) weight = row.cast_p(weight);
      for (std::size_t c = 0; c < answer.out.size(); ++c) {
        const auto product = [&](std::int64_t j) {
          return double{p[static_cast<std::size_t>(j)]} * row.v.row(tile[static_cast<std::size_t>(j)])[c];
        };
        answer.out[c] = accumulate(answer.out[c] * rescale, static_cast<std::int64_t>(tile.size()), product);
      }
    }
    for (T& o : answer.out) o /= l;
    answer.lse = m + std::log(l);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.mma_block = kBlock;
  declared.accumulator_fraction_bits = kFractionBits;
  return declared;
}

}  // namespace

Candidate truncating_accumulator() {
  return row_candidate("truncating_accumulator",
                       {.dtypes = bit_of(Dtype::kF16) | bit_of(Dtype::kBf16), .arithmetic = arithmetic}, Truncating{});
}

}  // namespace ringproof::correct

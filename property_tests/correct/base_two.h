#pragma once

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {

/// Online softmax in base 2: e^(a s - a m) = 2^(s c - m c) with c = a log2 e rounded once, s the bare product q.k.
/// `exp2` and `multiply_add(x, y, z)` = x y + z are the kernel's. A negative scale turns the order of the products
/// round, so c takes part in the maximum.
template <class T, class Exp2, class MultiplyAdd>
void base_two_softmax(const Row<T>& row, Answer<T>& answer, const Exp2& exp2, const MultiplyAdd& multiply_add) {
  const T c = row.scale * static_cast<T>(1.4426950408889634);
  const std::int64_t d = row.problem.head_dim_qk;
  const auto product = [&](std::int64_t key) {
    T sum = 0;
    for (std::int64_t i = 0; i < d; ++i) sum = multiply_add(row.q[i], row.k.row(key)[i], sum);
    return sum;
  };
  T m = -std::numeric_limits<T>::infinity(), l = 0;  // m in units of log2
  for (std::size_t at = 0; at < row.keys.size(); at += 16) {
    const std::span<const std::int64_t> tile = tile_of(row.keys, at, 16);
    std::vector<T> products;
    T m_new = m;
    for (const std::int64_t key : tile) {
      products.push_back(product(key));
      m_new = std::max(m_new, products.back() * c);
    }
    const T base = std::isinf(m_new) ? T{0} : m_new;
    const T rescale = std::isinf(m) ? T{0} : exp2(m - base);
    m = m_new;
    l *= rescale;
    for (T& o : answer.out) o *= rescale;
    for (std::size_t j = 0; j < tile.size(); ++j) {
      const T p = exp2(multiply_add(products[j], c, -base)), p_cast = row.cast_p(p);
      l += p;
      for (std::size_t column = 0; column < answer.out.size(); ++column) {
        answer.out[column] = multiply_add(p_cast, row.v.row(tile[j])[column], answer.out[column]);
      }
    }
  }
  for (T& o : answer.out) o /= l;
  answer.lse = (m + std::log2(l)) * static_cast<T>(0.6931471805599453);
}

}  // namespace ringproof::correct

#pragma once

// Attention in double with one rounding of P and one of O, each a function: a correct kernel as far as the statistics
// of 16-bit storage can tell, and faulty ones by other functions. For tests of statistics, which need many rows.

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/spec/visibility.h"

namespace ringproof {

struct PlainKernel {
  std::function<double(double)> cast_p, cast_out;
  double l_factor = 1;  ///< what the row sum is wrong by
  bool l_sums_cast_p = false;
  std::int64_t faulty_head = -1;  ///< cast_p of all heads but this one rounds to nearest; -1: cast_p everywhere
};

/// Toward zero in the format's precision, whatever the exponent.
inline double truncated(Dtype format, double x) {
  const int digits = format_facts(format).precision;
  const double unit = std::ldexp(1.0, std::ilogb(x) - digits + 1);
  return x == 0 ? 0 : std::trunc(x / unit) * unit;
}

inline PlainKernel correct_kernel(Dtype storage) {
  const auto round = [storage](double x) { return round_to(storage, x); };
  return {round, round};
}

/// What the kernel returns: O, and the oracle's lse.
inline Got run_plain(const PlainKernel& kernel, const Reference& reference) {
  const Problem& p = reference.c.problem;
  Got got{
      CallStatus::kReturned, "", {dtype_of_out(p.dtype), p.shape_out()}, {dtype_of_lse(p.dtype), p.shape_lse()}, true};
  const TensorView q = reference.inputs.q.view(), k = reference.inputs.k.view(), v = reference.inputs.v.view();
  const TensorView out = got.out.view(), lse = got.lse.view();
  const Visibility visibility(p);
  std::vector<double> sum(static_cast<std::size_t>(p.head_dim_v));
  std::size_t row = 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads_q; ++h) {
      const std::int64_t h_kv = h / p.heads_per_group();
      for (std::int64_t i = 0; i < p.seqlen_q; ++i, ++row) {
        lse.store(b, h, i, 0, reference.want.lse.value[row]);
        const double maximum = reference.want.statistics.rows[row].score_max;
        double l = 0;
        sum.assign(sum.size(), 0);
        for (const KeyRange& range : visibility.ranges(i)) {
          for (std::int64_t j = range.begin; j < range.end; ++j) {
            double dot = 0;
            for (std::int64_t c = 0; c < p.head_dim_qk; ++c) dot += q.load(b, h, i, c) * k.load(b, h_kv, j, c);
            const double weight = std::exp(dot * p.softmax_scale - maximum);
            const bool is_faulty = kernel.faulty_head < 0 || kernel.faulty_head == h;
            const double cast = is_faulty ? kernel.cast_p(weight) : round_to(p.dtype, weight);
            l += kernel.l_sums_cast_p ? cast : weight;
            for (std::size_t c = 0; c < sum.size(); ++c)
              sum[c] += cast * v.load(b, h_kv, j, static_cast<std::int64_t>(c));
          }
        }
        for (std::size_t c = 0; c < sum.size(); ++c) {
          const double value = l == 0 ? 0 : sum[c] / (l * kernel.l_factor);
          out.store(b, h, i, static_cast<std::int64_t>(c), kernel.cast_out(value));
        }
      }
    }
  }
  return got;
}

}  // namespace ringproof

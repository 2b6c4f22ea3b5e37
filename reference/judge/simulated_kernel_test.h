#pragma once

// A flash kernel made of the rounding models that the bounds assume, for tests of the bounds. Every operation is done
// in double and then made wrong as the model allows: rounded to nearest in the accumulator's format, or moved by the
// whole unit roundoff in the direction that hurts most. The second kernel does not exist and is the worst that may.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "reference/judge/reference.h"
#include "reference/spec/arithmetic.h"
#include "reference/spec/visibility.h"

namespace ringproof {

struct SimulatedKernel {
  Arithmetic arithmetic;  ///< resolved; what the kernel does and declares
  std::int64_t tile = 16;
  bool descending = false;
  bool base_two = false;            ///< exp2(s c - m c) with c = scale log2 e, instead of exp(s scale - m)
  bool adversarial = false;         ///< errors of full size in the direction that moves O most; else rounding to
                                    ///< nearest. Not for fp64 accumulators: a double cannot hold their errors
  bool running_is_partial = false;  ///< what merging leaves is stored in the partial dtype too
  bool sink_first = false;          ///< the running maximum starts at the sink, which else joins l at the end
  bool lse_of_keys = false;         ///< lse leaves the sink out
  /// Adversarial: the signs of the errors, taken in turn, over and over; empty: those that move O most.
  std::vector<signed char> directions{};
};

struct SimulatedAnswer {
  std::vector<double> out, lse;
};

class SimulatedRow {
 public:
  SimulatedRow(const SimulatedKernel& kernel, const Reference& reference, std::int64_t b, std::int64_t h,
               std::int64_t i)
      : kernel_(kernel),
        a_(kernel.arithmetic),
        problem_(reference.c.problem),
        reference_(reference),
        b_(b),
        h_(h),
        i_(i) {
    u_ = format_facts(a_.accumulator_dtype).unit_roundoff;
    const std::int64_t row = (b * problem_.heads_q + h) * problem_.seqlen_q + i;
    const double* const want = reference.want.out.value.data() + row * problem_.head_dim_v;
    want_.assign(want, want + problem_.head_dim_v);
  }

  struct Partial {
    std::vector<double> out;
    double lse = -std::numeric_limits<double>::infinity();
  };

  /// The row's attention over some ranges of visible keys; each begins a tile of its own.
  Partial over(const std::vector<KeyRange>& ranges) {
    const std::int64_t dv = problem_.head_dim_v;
    Partial partial{std::vector<double>(static_cast<std::size_t>(dv), 0.0)};
    if (a_.p_is_normalised) return over_normalised(ranges, partial);
    double m = -std::numeric_limits<double>::infinity(), l = 0;
    sum_of_keys_ = 0;
    if (adds_sink_ && kernel_.sink_first) m = sink_score(), l = 1;
    std::vector<KeyRange> tiles;
    for (const KeyRange& range : ranges) {
      for (std::int64_t begin = range.begin; begin < range.end; begin += kernel_.tile) {
        tiles.push_back({begin, std::min(begin + kernel_.tile, range.end)});
      }
    }
    if (kernel_.descending) std::reverse(tiles.begin(), tiles.end());
    for (const KeyRange& tile : tiles) take_tile(tile, m, l, partial.out);
    if (tiles.empty() && !adds_sink_) return partial;
    const double of_keys = tiles.empty() ? partial.lse : log_sum(m, kernel_.sink_first ? sum_of_keys_ : l);
    if (adds_sink_ && !kernel_.sink_first) take_sink(m, l, partial.out);
    for (std::int64_t c = 0; c < dv; ++c) {
      double& value = partial.out[static_cast<std::size_t>(c)];
      value = rounded(value / l, away(c));
      if (descale_v() != 1) value = rounded(value * rounded(descale_v(), away(c)), away(c));
    }
    partial.lse = kernel_.lse_of_keys ? of_keys : log_sum(m, l);
    return partial;
  }

  /// Whether the next over() takes the sink: one part of a row does.
  void add_sink(bool adds) { adds_sink_ = adds && problem_.has_sink; }

  /// Merges `other` into `running` by the form declared, in fp32 at least.
  void merge(Partial& running, const Partial& other) const {
    if (other.lse == -std::numeric_limits<double>::infinity()) return;
    if (running.lse == -std::numeric_limits<double>::infinity()) {
      running = other;
      return;
    }
    const auto f = [this](double x) {
      return round_to(a_.partial_dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32, x);
    };
    const double lse = running.lse, lse_b = other.lse;
    if (a_.merge_is_lerp) {
      const double sigmoid = f(1 / f(1 + exponential(f(lse - lse_b), 1)));
      for (std::size_t c = 0; c < running.out.size(); ++c) {
        running.out[c] = f(running.out[c] - f(sigmoid * f(running.out[c] - other.out[c])));
      }
      const double apart = f(lse_b - lse);  // lse - log sigmoid(lse - lse_b), of which nothing overflows
      running.lse = f(lse + f(std::max(apart, 0.0) + f(std::log1p(exponential(-std::fabs(apart), 1)))));
      return;
    }
    const double larger = std::max(lse, lse_b);
    const double sum = f(exponential(f(lse - larger), 1) + exponential(f(lse_b - larger), 1));
    running.lse = f(larger + f(std::log(sum)));
    const double weight = exponential(f(lse - running.lse), 1), weight_b = exponential(f(lse_b - running.lse), 1);
    for (std::size_t c = 0; c < running.out.size(); ++c) {
      running.out[c] = f(f(weight * running.out[c]) + f(weight_b * other.out[c]));
    }
  }

 private:
  double sign(double direction) const {
    if (kernel_.directions.empty()) return direction;
    return kernel_.directions[taken_++ % kernel_.directions.size()];
  }
  double rounded(double x, double direction) const {
    if (!kernel_.adversarial) return round_to(a_.accumulator_dtype, x);
    return x + sign(direction) * u_ * std::fabs(x);
  }
  // exp(x), exp2(x) where the scores are in base two, wrong by at most what is declared. exp(0) of a rescale is 1.
  double exponential(double x, double direction, bool two = false) const {
    if (x == 0 || std::isinf(x)) return x == 0 ? 1 : 0;
    const double exact = two ? std::exp2(x) : std::exp(x);
    if (kernel_.adversarial) return exact * (1 + sign(direction) * a_.exp_error_relative);
    // Rounding to fp32 takes one unit roundoff of what is declared.
    const double room = a_.exp_error_relative - 0x1p-24;
    const bool wide = a_.accumulator_dtype == Dtype::kF64;
    return wide ? exact : round_to(Dtype::kF32, exact * (1 + direction * std::max(room, 0.0)));
  }
  // Up for values above the answer: the weights conspire to lift the first column.
  double towards(std::int64_t key) const { return v(key, 0) * descale_v() > want_[0] ? 1 : -1; }
  double away(std::int64_t column) const { return want_[static_cast<std::size_t>(column)] >= 0 ? 1 : -1; }

  double log_sum(double m, double l) const {
    const double maximum = kernel_.base_two ? rounded(m * factor(), 1) : m;
    return rounded(maximum + rounded(std::log(l), 1), 1);
  }

  // The sink as the kernel holds scores.
  double sink_score() const {
    const double z = reference_.inputs.sink[static_cast<std::size_t>(h_)];
    return kernel_.base_two ? two_of(z) / constant() : z;
  }
  // z log2 e, rounded twice, away from how constant() is.
  double two_of(double z) const { return rounded(z * rounded(std::log2(std::exp(1.0)), -1), z > 0 ? -1 : 1); }
  // exp(sink - m), where in base two the sink meets log2 e on its own, rounded twice.
  double sink_weight(double m) const {
    if (!kernel_.base_two) return exponential(rounded(sink_score() - m, 1), 1);
    const double two = two_of(reference_.inputs.sink[static_cast<std::size_t>(h_)]);
    return exponential(rounded(two - rounded(m * constant(), -1), 1), 1, true);
  }
  void take_sink(double& m, double& l, std::vector<double>& out) const {
    const double z = sink_score();
    if (!std::isfinite(m)) {
      m = z, l = 1;
      return;
    }
    if (z > m) {
      const double old = m;
      m = z;
      rescale_all(old, m, l, out);
      l = rounded(l + (kernel_.base_two ? sink_weight(m) : 1), -1);
      return;
    }
    l = rounded(l + sink_weight(m), -1);
  }
  void rescale_all(double m, double m_new, double& l, std::vector<double>& out) const {
    const double factor = rescale(m, m_new);
    l = rounded(l * factor, -1);
    sum_of_keys_ = rounded(sum_of_keys_ * factor, -1);
    for (std::size_t c = 0; c < out.size(); ++c) out[c] = rounded(out[c] * factor, away(static_cast<std::int64_t>(c)));
  }

  double q(std::int64_t c) const { return operand(reference_.inputs.q.view().load(b_, h_, i_, c), problem_.descale_q); }
  double k(std::int64_t j, std::int64_t c) const {
    return operand(reference_.inputs.k.view().load(b_, h_ / problem_.heads_per_group(), j, c), problem_.descale_k);
  }
  double v(std::int64_t j, std::int64_t c) const {
    return operand(reference_.inputs.v.view().load(b_, h_ / problem_.heads_per_group(), j, c), problem_.descale_v);
  }
  // fp8 in a wider operand format is dequantised into it; else scale and O carry the descale factors.
  bool dequantises() const { return is_fp8(problem_.dtype) && a_.operand_dtype != problem_.dtype; }
  double operand(double x, double descale) const { return round_to(a_.operand_dtype, dequantises() ? x * descale : x); }
  double descale_v() const { return dequantises() ? 1 : problem_.descale_v; }

  // Terms as the accumulator adds them: one by one, or a truncating block's at a time, cut to its fraction bits below
  // the largest of them and the sum, and the result cut to the accumulator's format.
  template <class Term>
  double summed(double sum, std::int64_t count, double direction, const Term& term) const {
    if (a_.mma_block == 0) {
      for (std::int64_t i = 0; i < count; ++i) sum = rounded(sum + rounded(term(i), direction), direction);
      return sum;
    }
    for (std::int64_t begin = 0; begin < count; begin += a_.mma_block) {
      const std::int64_t end = std::min<std::int64_t>(begin + a_.mma_block, count);
      double largest = std::fabs(sum);
      for (std::int64_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(term(i)));
      if (largest == 0) continue;
      const double unit = std::ldexp(1.0, std::ilogb(largest) - a_.accumulator_fraction_bits);
      double total = std::trunc(sum / unit);
      for (std::int64_t i = begin; i < end; ++i) total += std::trunc(term(i) / unit);
      total *= unit;
      if (total == 0) {
        sum = 0;
        continue;
      }
      const double last = std::ldexp(2 * u_, std::ilogb(total));
      sum = std::trunc(total / last) * last;
    }
    return sum;
  }

  double score(std::int64_t j) const {
    const double direction = towards(j);
    double sum = summed(0, problem_.head_dim_qk, direction, [&](std::int64_t c) { return q(c) * k(j, c); });
    if (!kernel_.base_two || problem_.softcap != 0) sum = rounded(sum * scale(), direction);
    if (problem_.softcap != 0) sum = capped(sum, direction);
    return format_facts(a_.score_dtype).precision < format_facts(a_.accumulator_dtype).precision
               ? round_to(a_.score_dtype, sum)
               : sum;
  }
  // The scale with the descale factors in it, each product rounded.
  double scale() const {
    if (!is_fp8(problem_.dtype) || dequantises()) return problem_.softmax_scale;
    return rounded(rounded(problem_.softmax_scale * problem_.descale_q, 1) * problem_.descale_k, 1);
  }
  // In base two the cap is multiplied in later, with log2 e.
  double capped(double score, double direction) const {
    const double argument = rounded(score * rounded(1 / problem_.softcap, direction), direction);
    double tangent = std::tanh(argument);
    if (kernel_.adversarial) tangent += sign(direction) * (a_.tanh_error_relative + 4 * u_) * (argument == 0 ? 0 : 1);
    tangent = kernel_.adversarial ? tangent : rounded(tangent, direction);
    return kernel_.base_two ? tangent : rounded(problem_.softcap * tangent, direction);
  }
  // What scores as the kernel holds them are multiplied by.
  double factor() const {
    if (!kernel_.base_two) return 1;
    return problem_.softcap != 0 ? problem_.softcap : scale();
  }
  // Made once by a kernel, so that its error is the same wherever it stands: up, whatever the tape says.
  double constant() const {
    const double exact = factor() * std::log2(std::exp(1.0));
    if (!kernel_.adversarial) return rounded(exact, 1);
    return exact * (1 + u_) * (1 + u_);
  }
  // What stands in the exponential of key or maximum s under the maximum m.
  double weight(double s, double m, double direction) const {
    if (!kernel_.base_two) return exponential(rounded(s - m, direction), direction);
    const double shifted = rounded(s * constant() - rounded(m * constant(), -direction), direction);
    return exponential(shifted, direction, true);
  }
  double rescale(double m, double m_new) const {
    if (!kernel_.base_two) return exponential(rounded(m - m_new, 1), 1);
    return exponential(rounded(rounded(m - m_new, 1) * constant(), 1), 1, true);
  }

  // Two passes: P is divided by its sum before the cast, and nothing after.
  Partial over_normalised(const std::vector<KeyRange>& ranges, Partial partial) const {
    std::vector<std::int64_t> keys;
    for (const KeyRange& range : ranges) {
      for (std::int64_t j = range.begin; j < range.end; ++j) keys.push_back(j);
    }
    if (keys.empty() && adds_sink_) partial.lse = log_sum(sink_score(), 1);
    if (keys.empty()) return partial;
    std::vector<double> weights;
    for (const std::int64_t j : keys) weights.push_back(score(j));
    double m = *std::max_element(weights.begin(), weights.end());
    if (adds_sink_) m = std::max(m, sink_score());
    double l = adds_sink_ ? sink_weight(m) : 0;
    for (std::size_t place = 0; place < keys.size(); ++place) {
      double& p = weights[place];
      p = weight(p, m, towards(keys[place]));
      l = rounded(l + p, -1);
    }
    for (std::size_t place = 0; place < keys.size(); ++place) {
      const std::int64_t j = keys[place];
      const double p = weights[place] / l;
      for (std::size_t c = 0; c < partial.out.size(); ++c) {
        const auto column = static_cast<std::int64_t>(c);
        const double direction = away(column) * (v(j, column) >= 0 ? 1 : -1);
        const double cast = round_to(a_.p_dtype, rounded(p, direction) * a_.p_scale) / a_.p_scale;
        partial.out[c] = rounded(partial.out[c] + rounded(cast * v(j, column), away(column)), away(column));
      }
    }
    for (std::int64_t c = 0; c < problem_.head_dim_v && descale_v() != 1; ++c) {
      double& value = partial.out[static_cast<std::size_t>(c)];
      value = rounded(value * rounded(descale_v(), away(c)), away(c));
    }
    partial.lse = log_sum(m, l);
    return partial;
  }

  void take_tile(KeyRange keys, double& m, double& l, std::vector<double>& out) const {
    std::vector<double> scores;
    double m_new = m;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      scores.push_back(score(j));
      m_new = std::max(m_new, scores.back());
    }
    if (std::isfinite(m) && m_new != m) rescale_all(m, m_new, l, out);
    m = m_new;
    std::vector<double> cast;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      const double p = weight(scores[static_cast<std::size_t>(j - keys.begin)], m, towards(j));
      cast.push_back(round_to(a_.p_dtype, p * a_.p_scale) / a_.p_scale);
      const double summand = a_.l_sums_cast_p ? cast.back() : p;
      l = rounded(l + summand, -1);
      sum_of_keys_ = rounded(sum_of_keys_ + summand, -1);
    }
    for (std::size_t c = 0; c < out.size(); ++c) {
      const auto column = static_cast<std::int64_t>(c);
      out[c] = summed(out[c], keys.count(), away(column),
                      [&](std::int64_t j) { return cast[static_cast<std::size_t>(j)] * v(keys.begin + j, column); });
    }
  }

  const SimulatedKernel& kernel_;
  const Arithmetic& a_;
  const Problem& problem_;
  const Reference& reference_;
  std::int64_t b_, h_, i_;
  double u_;
  bool adds_sink_ = false;
  mutable double sum_of_keys_ = 0;  // l without the sink
  std::vector<double> want_;
  mutable std::size_t taken_ = 0;  // of the directions
};

/// How a row's keys are split: by the topology's token runs, or into the declared merges' parts. Ascending ranges each.
inline std::vector<std::vector<KeyRange>> split_keys(const SimulatedKernel& kernel, const Problem& problem) {
  std::vector<std::vector<KeyRange>> parts;
  if (problem.topology.rank_count > 1) {
    for (int rank = 0; rank < problem.topology.rank_count; ++rank) {
      for (const TokenRun& run : owned_tokens(problem.topology, rank, problem.seqlen_kv)) {
        std::vector<KeyRange>& part = parts.emplace_back();
        if (run.step == 1) part.push_back({run.begin, run.end});
        if (run.step == 1) continue;
        for (std::int64_t token = run.begin; token < run.end; token += run.step) part.push_back({token, token + 1});
      }
    }
    return parts;
  }
  const std::int64_t count = kernel.arithmetic.merges + 1;
  for (std::int64_t part = 0; part < count; ++part) {
    parts.push_back({{problem.seqlen_kv * part / count, problem.seqlen_kv * (part + 1) / count}});
  }
  return parts;
}

/// What lies in some ranges and in others.
inline std::vector<KeyRange> common(const std::vector<KeyRange>& ranges, const std::vector<KeyRange>& others) {
  std::vector<KeyRange> found;
  for (const KeyRange& range : ranges) {
    for (const KeyRange& other : others) {
      const KeyRange both{std::max(range.begin, other.begin), std::min(range.end, other.end)};
      if (both.begin < both.end) found.push_back(both);
    }
  }
  return found;
}

/// What the kernel answers: O and lse as they are stored, dense.
inline SimulatedAnswer simulate(const SimulatedKernel& kernel, const Reference& reference) {
  const Problem& p = reference.c.problem;
  const Visibility visibility(p);
  SimulatedAnswer answer;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads_q; ++h) {
      for (std::int64_t i = 0; i < p.seqlen_q; ++i) {
        SimulatedRow row(kernel, reference, b, h, i);
        const std::vector<KeyRange> seen = visibility.ranges(i);
        SimulatedRow::Partial whole = row.over({});
        row.add_sink(true);  // with the first part
        for (const std::vector<KeyRange>& part : split_keys(kernel, p)) {
          const SimulatedRow::Partial partial = row.over(common(seen, part));
          row.add_sink(false);
          SimulatedRow::Partial stored = partial;
          for (double& value : stored.out) value = round_to(kernel.arithmetic.partial_dtype, value);
          const bool merged = kernel.arithmetic.merges > 0 || p.topology.rank_count > 1;
          row.merge(whole, merged ? stored : partial);
          if (!merged || !kernel.running_is_partial) continue;
          for (double& value : whole.out) value = round_to(kernel.arithmetic.partial_dtype, value);
        }
        for (const double value : whole.out) answer.out.push_back(round_to(dtype_of_out(p.dtype), value));
        answer.lse.push_back(round_to(dtype_of_lse(p.dtype), whole.lse));
      }
    }
  }
  return answer;
}

}  // namespace ringproof

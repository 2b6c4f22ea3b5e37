// Level 2 takes the complement of what one row sees: every mask that hides anything then has NaN inside the tiles that
// this row's keys lie in, and the rows before it (causal) or around it (window) are judged with it. Other heads draw
// other rows.

#include "reference/judge/hidden_slots.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

// Whether every key of `inner` is one of `outer`; both ascending and disjoint.
bool lie_inside(const std::vector<KeyRange>& inner, const std::vector<KeyRange>& outer) {
  return std::all_of(inner.begin(), inner.end(), [&](const KeyRange& range) {
    return std::any_of(outer.begin(), outer.end(),
                       [&](const KeyRange& of) { return of.begin <= range.begin && range.end <= of.end; });
  });
}

}  // namespace

HiddenSlots::HiddenSlots(const Problem& problem, std::uint64_t seed, int level, bool shares_heads)
    : problem_(problem), visibility_(problem), seed_(seed), level_(level), shares_heads_(shares_heads) {}

std::int64_t HiddenSlots::row_drawn(std::int64_t batch, std::int64_t head_kv) const {
  const std::int64_t head = batch * problem_.heads_kv + (shares_heads_ ? 0 : head_kv);
  const std::uint64_t draw = hashed_bits(seed_, TensorRole::kDOut, head, 3);
  return static_cast<std::int64_t>(draw % static_cast<std::uint64_t>(problem_.seqlen_q));
}

void HiddenSlots::poison(const TensorView& view, const std::vector<std::int64_t>& tokens, Dtype poison_dtype,
                         std::uint64_t call) const {
  for (std::int64_t b = 0; b < view.shape[0]; ++b) {
    for (std::int64_t h = 0; h < view.shape[1]; ++h) {
      const bool by_row = level_ >= 2 && problem_.seqlen_q > 0;
      const std::int64_t row = by_row ? row_drawn(b, h) : 0;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const bool is_hidden = !visibility_.any_row_sees(tokens[i]) || (by_row && !visibility_.sees(row, tokens[i]));
        if (!is_hidden) continue;
        for (std::int64_t d = 0; d < view.shape[3]; ++d) {
          const double value = level_ > 0 ? std::numeric_limits<double>::quiet_NaN()
                                          : finite_poison(poison_dtype, call, tokens[i] + 31 * d);
          view.store(b, h, static_cast<std::int64_t>(i), d, value);
        }
      }
    }
  }
}

std::vector<bool> HiddenSlots::spoiled_rows() const {
  std::vector<bool> spoiled;
  if (level_ < 2) return spoiled;
  std::vector<std::vector<KeyRange>> seen(static_cast<std::size_t>(problem_.seqlen_q));
  for (std::int64_t row = 0; row < problem_.seqlen_q; ++row) seen[row] = visibility_.ranges(row);
  for (std::int64_t b = 0; b < problem_.batch; ++b) {
    for (std::int64_t h = 0; h < problem_.heads_q; ++h) {
      for (std::int64_t row = 0; row < problem_.seqlen_q; ++row) {
        spoiled.push_back(!lie_inside(seen[row], seen[row_drawn(b, h / problem_.heads_per_group())]));
      }
    }
  }
  return spoiled;
}

double finite_poison(Dtype dtype, std::uint64_t call, std::int64_t index) {
  const int half = std::ilogb(format_facts(dtype).finite_max) / 2;
  const int exponent = half > 60 ? half - 7 : half - 1;  // the narrow formats' squares are taken in fp32
  const std::uint64_t bits = hashed_bits(call, TensorRole::kSink, index, 0);
  const double magnitude = std::ldexp(1.0 + static_cast<double>(bits >> 62) / 4, exponent);
  return bits & 1 ? -magnitude : magnitude;
}

}  // namespace ringproof

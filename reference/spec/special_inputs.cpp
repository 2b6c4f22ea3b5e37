// The recipe special: gauss, and in it what is no ordinary number. Names as in inputs.cpp; for an element of a tensor
// with e = bits(3), t bits of significand in storage and s = -1 where bit 63 of e is set, else 1:
//
//   subnormal = s (1 + floor(e / 64) mod (2^(t-1) - 1)) times the least subnormal
//   e mod 64:   0, 1: subnormal;   2, 3: s 0;   4, in columns 2, 6, 10, .. of v: s times the largest finite number of
//               storage, or 2^100 where that is less, so that sums in fp32 stay finite
//   v_0 = subnormal and v_1 = s 0 for every key
//
// Then NaN and infinity. In row r = (b heads_q + h) seqlen_q + s of q, with e of the index 2^48 + r: NaN where e mod 16
// is 0, s inf where it is 1, at column floor(e / 64) mod head_dim_qk. Of the kv head g = b H + h, with e = bits(3) of
// tensor k at the index 2^48 + g, in one element of key bits(0) mod n, column bits(1) mod its columns, by
// (g + seed) mod 5:
//
//   0: nothing;   1: NaN in k;   2: NaN in v;   3: s inf in k;   4: s inf in v
//
// Storage without infinities (fp8_e4m3) keeps what stood there.

#include "reference/spec/special_inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ringproof {
namespace {

constexpr std::int64_t kApart = std::int64_t{1} << 48;  // indices that no element has
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double signed_by(std::uint64_t e, double magnitude) { return e >> 63 ? -magnitude : magnitude; }

double subnormal(const FormatFacts& facts, std::uint64_t e) {
  const std::uint64_t count = (std::uint64_t{1} << (facts.precision - 1)) - 1;
  return signed_by(e, static_cast<double>(1 + e / 64 % count) * facts.subnormal_min);
}

// Calls place(view, facts, e, index) for every element.
template <class Place>
void visit(const Tensor& tensor, TensorRole role, std::uint64_t seed, bool broadcast, const Place& place) {
  const TensorView view = tensor.view();
  const Shape& shape = tensor.shape();
  const FormatFacts facts = format_facts(tensor.dtype());
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t s = 0; s < shape[2]; ++s) {
        for (std::int64_t d = 0; d < shape[3]; ++d) {
          const std::int64_t head = b * shape[1] + (broadcast ? 0 : h);
          const std::uint64_t e = hashed_bits(seed, role, (head * shape[2] + s) * shape[3] + d, 3);
          place(view, facts, e, Shape{b, h, s, d});
        }
      }
    }
  }
}

void make_special_query_rows(const Problem& problem, std::uint64_t seed, const TensorView& q) {
  for (std::int64_t row = 0; row < problem.batch * problem.heads_q * problem.seqlen_q; ++row) {
    const std::uint64_t e = hashed_bits(seed, TensorRole::kQ, kApart + row, 3);
    const std::int64_t head = row / problem.seqlen_q;
    const auto column = static_cast<std::int64_t>(e / 64 % static_cast<std::uint64_t>(problem.head_dim_qk));
    const bool is_held = e % 16 == 0 || (e % 16 == 1 && std::isinf(round_to(problem.dtype, kInfinity)));
    if (!is_held) continue;
    q.store(head / problem.heads_q, head % problem.heads_q, row % problem.seqlen_q, column,
            e % 16 == 0 ? kNan : signed_by(e, kInfinity));
  }
}

void make_special_keys(const Problem& problem, std::uint64_t seed, bool broadcast, const Inputs& inputs) {
  if (problem.seqlen_kv == 0) return;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    for (std::int64_t h = 0; h < problem.heads_kv; ++h) {
      const std::int64_t head = b * problem.heads_kv + (broadcast ? 0 : h);
      const auto word = [&](int w) { return hashed_bits(seed, TensorRole::kK, kApart + head, w); };
      const std::uint64_t kind = (static_cast<std::uint64_t>(head) + seed % 5) % 5;
      const bool is_infinite = kind >= 3;
      if (kind == 0 || (is_infinite && !std::isinf(round_to(problem.dtype, kInfinity)))) continue;
      const TensorView view = (kind % 2 == 1 ? inputs.k : inputs.v).view();
      const auto key = static_cast<std::int64_t>(word(0) % static_cast<std::uint64_t>(problem.seqlen_kv));
      const auto column = static_cast<std::int64_t>(word(1) % static_cast<std::uint64_t>(view.shape[3]));
      view.store(b, h, key, column, is_infinite ? signed_by(word(3), kInfinity) : kNan);
    }
  }
}

}  // namespace

void make_special(const Problem& problem, std::uint64_t seed, bool broadcast_kv, Inputs& inputs) {
  const auto store = [](const TensorView& view, const Shape& at, double value) {
    view.store(at[0], at[1], at[2], at[3], value);
  };
  const auto place = [&](const TensorView& view, const FormatFacts& facts, std::uint64_t e, const Shape& at) {
    if (e % 64 < 2) store(view, at, subnormal(facts, e));
    if (e % 64 == 2 || e % 64 == 3) store(view, at, signed_by(e, 0));
  };
  const auto place_value = [&](const TensorView& view, const FormatFacts& facts, std::uint64_t e, const Shape& at) {
    place(view, facts, e, at);
    if (e % 64 == 4 && at[3] % 4 == 2) store(view, at, signed_by(e, std::min(facts.finite_max, 0x1p100)));
    if (at[3] == 0) store(view, at, subnormal(facts, e));
    if (at[3] == 1) store(view, at, signed_by(e, 0));
  };
  visit(inputs.q, TensorRole::kQ, seed, false, place);
  visit(inputs.k, TensorRole::kK, seed, broadcast_kv, place);
  visit(inputs.v, TensorRole::kV, seed, broadcast_kv, place_value);
  make_special_query_rows(problem, seed, inputs.q.view());
  make_special_keys(problem, seed, broadcast_kv, inputs);
}

}  // namespace ringproof

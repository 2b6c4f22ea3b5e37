// Every element is a function of (seed, tensor, index), index being its place in the dense
// [batch, heads, sequence, dim] order. With mix() the finaliser of splitmix64 and g = 0x9e3779b97f4a7c15, all
// in 64-bit modular arithmetic:
//
//   stream  = mix(seed + g (tensor + 1))                       tensor: 0 q, 1 k, 2 v (TensorRole)
//   bits(w) = mix(stream + g (4 index + w + 1))                w = 0..3
//   gauss   = (popcount(bits(0)) + popcount(bits(1)) - 64 + u) c,
//             u = ((bits(2) >> 24) + 1/2) 2^-40 - 1/2,
//             c = 0.1765469659009499 (the double nearest to 1 / sqrt(32 + 1/12), the exact deviation)
//
// Each recipe is a formula in doubles, evaluated left to right, then rounded once to storage. b, h, s, c are
// batch, head (of kv; of q for q), sequence and column; n = seqlen_kv, a = softmax_scale, H = heads_kv.
//
//   gauss            q = k = v = gauss
//   large_offset(x)  gauss, but q_0 = 16, k_0 = x / (16 a): S gains x in every row, less the rounding of k_0,
//                    alike for all keys
//   peaked           gauss, but q_0 = 2, k_0 = nats / (2 a), nats = 8 s / n - 4, and 2 more on one key in 32,
//                    where bits(3) of tensor k at index (b H + h) n + s is below 2^59: the maximum rises all
//                    the way, by a slope of 8 e-folds and by peaks
//   sink             gauss, but q_0 = 2, k_0 = nats / (2 a) for key 0 with nats = 0.7 bit_width(n) + 2, 0 for
//                    others; v of key 0 is divided by 64: key 0 holds most of the mass and adds little
//   ascending        q_0 = 2, k_0 = nats / (2 a), nats = 4 s / n - 2; the other columns of q gauss, of k gauss / 8:
//                    nearly sorted scores, and gentle enough that what stands before a rise still counts
//   descending       ascending with -nats: the maximum of a row stands at its first key
//   outlier          x = gauss(i), and x + 10 gauss(i + 2^48) where bits(3) of the element is below
//                    floor(2^64 / 1000), for every element of q, k and v
//   near_ties        q gauss, but q_0 = 2; k_c = gauss at column c of key 0, alike for all keys, but
//                    k_0 = 1 + m ulp, m = bits(3) mod 4 of tensor k at index (b H + h) n + s, ulp = 2^(1 - t) for
//                    storage of t bits: the scores of a row differ by a few units of the last place of k; v gauss
//   duplicated       q gauss, k of key s is gauss of key s mod 4: four scores a row, whose weights all round alike;
//                    v = abs(gauss), so that their errors add up
//   cancelling       q gauss; key s + floor(n / 2) has k of key s and v of key s negated, for s < floor(n / 2): where a
//                    row sees both of each pair O is 0, far apart in the order of keys; of odd n the last key has v = 0
//   uniform_probe    q = k = 0, v = (((2 c + 1) s + 37 c + 101 h + 59 b + seed mod 257) mod 257 - 128) / 128
//   walsh_probe      q = 0, k = gauss, v_0 = 1, v_c = +1 if bit c - 1 of s is 0, else -1 (bits past 62 are 0)
//   head_coded       q = k = gauss, v = 1 + (b H + h) mod 127
//   exact            one key has all the weight: q_s = m code(t(s)), k_s = code(s) (see below)
//   special          gauss with what special_inputs.cpp says in it
//   real(name)       the stored activations, first seqlen tokens, seed unused
//
// Where storage is fp8, a is softmax_scale descale_q descale_k. The sink's logits are gauss draws of tensor 5, rounded
// to fp32, index being the query head, whatever the recipe.
//
// Where K and V are broadcast over heads, h is 0 for every head. With alias K and V are Q, whatever the recipe; with
// v_in_k V is the first head_dim_v columns of K.

#include "reference/spec/inputs.h"

#include <bit>
#include <cmath>

#include "reference/spec/error.h"
#include "reference/spec/real_inputs.h"
#include "reference/spec/special_inputs.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
constexpr double kGaussScale = 0.1765469659009499;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 31;
  return x;
}

struct Index {
  std::int64_t batch, head, row, column, linear;
};

// Calls element(Index) for every element in dense order and stores what it returns.
template <class Element>
void fill(const Tensor& tensor, bool broadcast_heads, const Element& element) {
  const TensorView view = tensor.view();
  const Shape& shape = tensor.shape();
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t s = 0; s < shape[2]; ++s) {
        for (std::int64_t d = 0; d < shape[3]; ++d) {
          const std::int64_t head = broadcast_heads ? 0 : h;
          const std::int64_t linear = ((b * shape[1] + head) * shape[2] + s) * shape[3] + d;
          view.store(b, h, s, d, element(Index{b, head, s, d, linear}));
        }
      }
    }
  }
}

// exact: an index has bits = max(1, bit_width(n - 1)) bits, repeated rep = floor(d / bits) times over the
// columns; columns beyond are 0 (-0 in q where a < 0). code(j)_c = +1 or -1 by bit (c mod bits) of j.
//
// q carries the code of the target key t(s), drawn by bits(3) of tensor q at index (b heads_q + h) seqlen_q + s
// among the keys that row s sees, in order (a row that sees none takes key 0), times the power of two
// m = 2^ceil(log2(40 / (2 rep abs(a)))), with a's sign. The target then scores at least 40 above every other
// key, and exp(-40) < 2^-57 is lost beside 1 in every accumulator judged by value. v = 1 + bits(3) mod 61, an
// integer every 16-bit format holds.
struct ExactCode {
  int bits, repeats;
  double magnitude;
};

ExactCode exact_code(const Problem& problem) {
  const int bits = std::max(
      1,
      static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(problem.seqlen_kv - 1, 0)))));
  const int repeats = static_cast<int>(problem.head_dim_qk) / bits;
  double magnitude = 1;
  const double wanted = 40 / (2.0 * repeats * std::fabs(problem.score_scale()));
  while (magnitude < wanted) magnitude *= 2;
  while (magnitude / 2 >= wanted) magnitude /= 2;
  return {bits, repeats, std::copysign(magnitude, problem.score_scale())};
}

double code_sign(const ExactCode& code, std::int64_t key, std::int64_t column) {
  if (column >= std::int64_t{code.bits} * code.repeats) return 0;
  return (key >> (column % code.bits)) & 1 ? -1 : 1;
}

// One of the keys of some ranges; 0 if there is none.
std::int64_t drawn_key(const std::vector<KeyRange>& ranges, std::uint64_t draw) {
  std::int64_t count = 0;
  for (const KeyRange& range : ranges) count += range.count();
  if (count == 0) return 0;
  auto place = static_cast<std::int64_t>(draw % static_cast<std::uint64_t>(count));
  for (const KeyRange& range : ranges) {
    if (place < range.count()) return range.begin + place;
    place -= range.count();
  }
  return 0;
}

void fill_exact(const Inputs& inputs, const Problem& problem, const InputRecipe& recipe, bool broadcast) {
  const ExactCode code = exact_code(problem);
  const Visibility visibility(problem);
  std::vector<std::vector<KeyRange>> seen;  // by row
  for (std::int64_t row = 0; row < problem.seqlen_q; ++row) seen.push_back(visibility.ranges(row));
  fill(inputs.q, false, [&](const Index& at) {
    const std::int64_t row_index = (at.batch * problem.heads_q + at.head) * problem.seqlen_q + at.row;
    const std::uint64_t draw = hashed_bits(recipe.seed, TensorRole::kQ, row_index, 3);
    return code.magnitude * code_sign(code, drawn_key(seen[static_cast<std::size_t>(at.row)], draw), at.column);
  });
  fill(inputs.k, broadcast, [&](const Index& at) { return code_sign(code, at.row, at.column); });
  fill(inputs.v, broadcast, [&](const Index& at) {
    return 1.0 + static_cast<double>(hashed_bits(recipe.seed, TensorRole::kV, at.linear, 3) % 61);
  });
}

std::int64_t key_index_of(const Problem& problem, const Index& at) {
  return (at.batch * problem.heads_kv + at.head) * problem.seqlen_kv + at.row;
}

double peak_nats(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  const auto n = static_cast<double>(problem.seqlen_kv);
  const bool peak = hashed_bits(recipe.seed, TensorRole::kK, key_index_of(problem, at), 3) < std::uint64_t{1} << 59;
  return 8 * static_cast<double>(at.row) / n - 4 + (peak ? 2 : 0);
}

double sink_nats(const Problem& problem) {
  return 0.7 * static_cast<double>(std::bit_width(static_cast<std::uint64_t>(problem.seqlen_kv))) + 2;
}

double slope_nats(const Problem& problem, const Index& at) {
  return 4 * static_cast<double>(at.row) / static_cast<double>(problem.seqlen_kv) - 2;
}

double near_tie_ulps(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  const std::uint64_t draw = hashed_bits(recipe.seed, TensorRole::kK, key_index_of(problem, at), 3);
  return static_cast<double>(draw % 4) * std::ldexp(1.0, 1 - format_facts(problem.dtype).precision);
}

// The key whose draws a key takes.
std::int64_t drawn_from(const Problem& problem, RecipeKind kind, TensorRole role, std::int64_t key) {
  const std::int64_t half = problem.seqlen_kv / 2;
  if (role == TensorRole::kQ) return key;
  if (kind == RecipeKind::kCancelling) return half <= key && key < 2 * half ? key - half : key;
  if (role == TensorRole::kV) return key;
  if (kind == RecipeKind::kDuplicated) return key % 4;
  return kind == RecipeKind::kNearTies ? 0 : key;
}

double cancelling_sign(std::int64_t seqlen_kv, std::int64_t key) {
  const std::int64_t half = seqlen_kv / 2;
  if (key == 2 * half) return 0;
  return key < half ? 1 : -1;
}

// Below this of 2^64, one element in a thousand is an outlier.
constexpr std::uint64_t kOutlierBelow = 18446744073709551u;

double element_draw(const Problem& problem, const InputRecipe& recipe, TensorRole role, const Index& at) {
  const std::int64_t columns = role == TensorRole::kV ? problem.head_dim_v : problem.head_dim_qk;
  const std::int64_t index = at.linear + (drawn_from(problem, recipe.kind, role, at.row) - at.row) * columns;
  const double draw = gauss_draw(recipe.seed, role, index);
  if (recipe.kind != RecipeKind::kOutlier) return draw;
  const bool is_outlier = hashed_bits(recipe.seed, role, index, 3) < kOutlierBelow;
  return is_outlier ? draw + 10 * gauss_draw(recipe.seed, role, index + (std::int64_t{1} << 48)) : draw;
}

double value_code(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  switch (recipe.kind) {
    case RecipeKind::kUniformProbe: {
      const std::int64_t code = (2 * at.column + 1) * at.row + 37 * at.column + 101 * at.head + 59 * at.batch +
                                static_cast<std::int64_t>(recipe.seed % 257);
      return static_cast<double>(code % 257 - 128) / 128;
    }
    case RecipeKind::kWalshProbe:
      if (at.column == 0 || at.column > 63) return 1;
      return (at.row >> (at.column - 1)) & 1 ? -1 : 1;
    case RecipeKind::kHeadCoded: return 1 + static_cast<double>((at.batch * problem.heads_kv + at.head) % 127);
    default: break;
  }
  const double draw = element_draw(problem, recipe, TensorRole::kV, at);
  if (recipe.kind == RecipeKind::kDuplicated) return std::fabs(draw);
  if (recipe.kind == RecipeKind::kCancelling) return draw * cancelling_sign(problem.seqlen_kv, at.row);
  return recipe.kind == RecipeKind::kSink && at.row == 0 ? draw / 64 : draw;
}

double query_value(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  switch (recipe.kind) {
    case RecipeKind::kUniformProbe:
    case RecipeKind::kWalshProbe: return 0;
    case RecipeKind::kLargeOffset:
      if (at.column == 0) return 16;
      break;
    case RecipeKind::kPeaked:
    case RecipeKind::kSink:
    case RecipeKind::kAscending:
    case RecipeKind::kDescending:
    case RecipeKind::kNearTies:
      if (at.column == 0) return 2;
      break;
    default: break;
  }
  return element_draw(problem, recipe, TensorRole::kQ, at);
}

double first_column(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  const double scale = problem.score_scale();
  switch (recipe.kind) {
    case RecipeKind::kLargeOffset: return recipe.offset / (16 * scale);
    case RecipeKind::kPeaked: return peak_nats(problem, recipe, at) / (2 * scale);
    case RecipeKind::kSink: return at.row == 0 ? sink_nats(problem) / (2 * scale) : 0;
    case RecipeKind::kAscending: return slope_nats(problem, at) / (2 * scale);
    case RecipeKind::kDescending: return -slope_nats(problem, at) / (2 * scale);
    case RecipeKind::kNearTies: return 1 + near_tie_ulps(problem, recipe, at);
    default: break;
  }
  return element_draw(problem, recipe, TensorRole::kK, at);
}

double key_value(const Problem& problem, const InputRecipe& recipe, const Index& at) {
  if (recipe.kind == RecipeKind::kUniformProbe) return 0;
  if (at.column == 0) return first_column(problem, recipe, at);
  const double draw = element_draw(problem, recipe, TensorRole::kK, at);
  const bool is_slope = recipe.kind == RecipeKind::kAscending || recipe.kind == RecipeKind::kDescending;
  return is_slope ? draw / 8 : draw;
}

Inputs make_own(const Problem& problem, const InputRecipe& recipe, const Memory& memory) {
  if (recipe.kind == RecipeKind::kReal) return read_real_inputs(problem, recipe.real_name);
  Inputs inputs{
      {problem.dtype, problem.shape_q()}, {problem.dtype, problem.shape_k()}, {problem.dtype, problem.shape_v()}};
  const bool broadcast = memory.broadcast_kv;
  if (recipe.kind == RecipeKind::kExact) {
    fill_exact(inputs, problem, recipe, broadcast);
    return inputs;
  }
  fill(inputs.q, false, [&](const Index& at) { return query_value(problem, recipe, at); });
  fill(inputs.k, broadcast, [&](const Index& at) { return key_value(problem, recipe, at); });
  fill(inputs.v, broadcast, [&](const Index& at) { return value_code(problem, recipe, at); });
  if (recipe.kind == RecipeKind::kSpecial) make_special(problem, recipe.seed, broadcast, inputs);
  return inputs;
}

// What lies in one memory is one: with alias K and V are Q, with v_in_k V is the first columns of K.
Inputs share(Inputs inputs, const Memory& memory) {
  if (memory.alias) return {inputs.q, inputs.q, inputs.q};
  TensorView columns = inputs.k.view();
  columns.shape[3] = inputs.v.shape()[3];
  copy_elements(columns, inputs.v.view());
  return inputs;
}

}  // namespace

std::uint64_t hashed_bits(std::uint64_t seed, TensorRole role, std::int64_t index, int word) {
  const std::uint64_t stream = mix(seed + kGolden * (static_cast<std::uint64_t>(role) + 1));
  return mix(stream + kGolden * (4 * static_cast<std::uint64_t>(index) + static_cast<std::uint64_t>(word) + 1));
}

double gauss_draw(std::uint64_t seed, TensorRole role, std::int64_t index) {
  const int ones = std::popcount(hashed_bits(seed, role, index, 0)) + std::popcount(hashed_bits(seed, role, index, 1));
  const double uniform = (static_cast<double>(hashed_bits(seed, role, index, 2) >> 24) + 0.5) * 0x1p-40 - 0.5;
  return (ones - 64 + uniform) * kGaussScale;
}

Problem with_data(Problem problem, const Inputs& inputs) {
  assert_that(!problem.has_sink || inputs.sink.size() == static_cast<std::size_t>(problem.heads_q),
              "the inputs of a problem with a sink hold a logit per query head");
  problem.sink = problem.has_sink ? inputs.sink.data() : nullptr;
  return problem;
}

Inputs make_inputs(const Problem& problem, const InputRecipe& recipe, const Memory& memory) {
  validate(recipe, problem, memory);
  Inputs inputs = make_own(problem, recipe, memory);
  if (memory.alias || memory.v_in_k) inputs = share(inputs, memory);
  for (std::int64_t h = 0; problem.has_sink && h < problem.heads_q; ++h) {
    inputs.sink.push_back(static_cast<float>(gauss_draw(recipe.seed, TensorRole::kSink, h)));
  }
  return inputs;
}

}  // namespace ringproof

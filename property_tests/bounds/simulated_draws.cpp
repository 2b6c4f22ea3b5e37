// Cases come from the generators of the property tests and are cut down until a thousand of them take a second; kernels
// are drawn field by field, each field loose in a few of them. The number is the only seed.

#include "property_tests/bounds/simulated_draws.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "property_tests/generators.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : seed_(seed) {}
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(hashed_bits(seed_, TensorRole::kDOut, next_++, 1) %
                                     static_cast<std::uint64_t>(end));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }
  template <class T>
  T one_of(std::initializer_list<T> list) {
    return *(list.begin() + below(static_cast<std::int64_t>(list.size())));
  }

 private:
  std::uint64_t seed_;
  std::int64_t next_ = 0;
};

CaseSpace whole_space() {
  Candidate everything;
  everything.describe = [](Dtype, Direction) {
    Description description;
    description.masks = description.features = ~0u;
    description.dtypes = bit_of(Dtype::kF64) | bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16);
    description.schedules = bit_of(Schedule::kSingle) | bit_of(Schedule::kContiguous) | bit_of(Schedule::kStriped) |
                            bit_of(Schedule::kZigzag);
    return description;
  };
  return space_of(everything);
}

// What the generators leave out: sinks, softcaps, fp8.
void add_scalars(Draw& draw, Problem& p) {
  if (draw.one_in(4)) p.has_sink = true;
  if (draw.one_in(4)) p.softcap = draw.one_of({0.5, 4.0, 30.0});
  if (p.dtype != Dtype::kBf16 || !draw.one_in(2)) return;
  p.dtype = draw.one_of({Dtype::kF8E4m3, Dtype::kF8E5m2});
  for (double* descale : {&p.descale_q, &p.descale_k, &p.descale_v}) *descale = draw.one_of({1.0, 0.5, 0.375, 3.0});
}

// The same Case with fewer rows, heads and columns; false where that makes no sense.
bool cut_down(Case& c) {
  Problem& p = c.problem;
  p.batch = 1;
  p.heads_kv = 1;
  p.heads_q = std::min<std::int64_t>(p.heads_q, 2);
  p.head_dim_qk = std::min<std::int64_t>(p.head_dim_qk, 12);
  p.head_dim_v = std::min<std::int64_t>(p.head_dim_v, 3);
  if (p.mask.kind != MaskKind::kDocument) p.seqlen_q = std::min<std::int64_t>(p.seqlen_q, 4);
  c.memory = {};
  try {
    validate(c);
    require_judgeable(c, UINT64_MAX);
    return p.seqlen_q * p.seqlen_kv <= 400;
  } catch (const InputError&) {
    return false;
  }
}

SimulatedKernel draw_kernel(Draw& draw, const Case& c) {
  const Problem& p = c.problem;
  Arithmetic a;
  const bool is_wide = p.dtype == Dtype::kF64;
  const bool is_narrow = !is_wide && p.dtype != Dtype::kF32;
  SimulatedKernel kernel;
  kernel.tile = draw.one_of<std::int64_t>({1, 2, 7, 16, 64});
  kernel.descending = draw.one_in(2);
  // In base two the maximum is taken of bare products, which a scale that turns them round would overflow.
  kernel.base_two = p.softmax_scale > 0 && draw.one_in(2);
  if (draw.one_in(3)) a.tile_kv = kernel.tile;
  if (is_narrow && draw.one_in(4)) a.p_dtype = Dtype::kF32;
  // Scores beyond 65,504 are lost in fp16, whoever rounds them.
  const bool has_large_scores = c.inputs.kind == RecipeKind::kLargeOffset || c.inputs.kind == RecipeKind::kExact;
  if (is_narrow && !has_large_scores && draw.one_in(6))
    a.score_dtype = p.dtype == Dtype::kF16 ? Dtype::kF16 : Dtype::kBf16;
  if (p.dtype == Dtype::kF32 && draw.one_in(6)) a.operand_dtype = Dtype::kTf32;
  if (p.dtype == Dtype::kF32 && draw.one_in(8)) a.p_dtype = Dtype::kBf16;
  a.l_sums_cast_p = draw.one_in(5);
  a.p_is_normalised = draw.one_in(6);
  a.merge_is_lerp = draw.one_in(4);
  if (p.topology.rank_count == 1 && draw.one_in(3)) a.merges = draw.below(7);
  if (is_narrow && draw.one_in(5)) a.partial_dtype = p.dtype == Dtype::kF16 ? Dtype::kF16 : Dtype::kBf16;
  if (!is_wide && draw.one_in(5)) a.exp_error_relative = draw.one_of({0x1p-20, 8.8e-5, 0x1p-13, 0x1p-8});
  if (is_narrow && draw.one_in(8)) a.accumulator_dtype = draw.one_of({Dtype::kBf16, Dtype::kF16});
  const bool is_fp8 = p.dtype == Dtype::kF8E4m3 || p.dtype == Dtype::kF8E5m2;
  if (is_fp8 && draw.one_in(2)) a.p_scale = draw.one_of({2.0, 100.0, 256.0});
  if (is_narrow && a.accumulator_dtype == Dtype::kDefault && draw.one_in(4)) {
    a.mma_block = draw.one_of({4, 8, 16, 32});
    a.accumulator_fraction_bits = draw.one_of({13, 23, 25});
  }
  if (p.softcap > 0 && draw.one_in(4)) a.tanh_error_relative = draw.one_of({0x1p-11, 0x1p-10});
  kernel.running_is_partial = a.merges > 0 && draw.one_in(3);
  kernel.sink_first = p.has_sink && draw.one_in(2);
  kernel.arithmetic = resolve(a, p.dtype);
  // Errors of full size in double cannot be held in a double; and sums of +1 and -1 have none in any format.
  const bool has_room = kernel.arithmetic.accumulator_dtype != Dtype::kF64;
  kernel.adversarial = has_room && c.inputs.kind != RecipeKind::kWalshProbe && draw.one_in(2);
  return kernel;
}

double used_of(double got, double want, double tail, double bound) {
  if (!std::isfinite(bound) || (got == want && tail == 0)) return 0;
  const double error = std::fabs((got - want) - tail);
  if (error == 0) return 0;
  const double used = error / bound;
  return std::isnan(used) ? std::numeric_limits<double>::infinity() : used;
}

}  // namespace

SimulatedDraw simulated_draw(std::uint64_t number) {
  static const rc::Gen<Case> cases = cases_of(whole_space());
  Draw draw(number);
  rc::Random random(number);
  for (;;) {
    Case c = cases(random.split(), rc::kNominalSize).value();
    add_scalars(draw, c.problem);
    if (cut_down(c)) return {c, draw_kernel(draw, c)};
  }
}

std::string to_string(const SimulatedKernel& kernel) {
  std::string text = "tile " + std::to_string(kernel.tile);
  if (kernel.descending) text += ", descending";
  if (kernel.base_two) text += ", base two";
  if (kernel.running_is_partial) text += ", the running O in partials' dtype";
  if (kernel.sink_first) text += ", the maximum starts at the sink";
  if (kernel.adversarial) text += ", adversarial";
  return text;
}

BoundsUsed bounds_used(const SimulatedAnswer& got, const ForwardAnswer& want, const Bounds& bounds) {
  BoundsUsed used;
  for (std::size_t at = 0; at < got.out.size(); ++at) {
    used.out = std::max(used.out, used_of(got.out[at], want.out.value[at], want.out.tail_at(at), bounds.out[at]));
  }
  for (std::size_t at = 0; at < got.lse.size(); ++at) {
    used.lse = std::max(used.lse, used_of(got.lse[at], want.lse.value[at], want.lse.tail_at(at), bounds.lse[at]));
  }
  return used;
}

}  // namespace ringproof

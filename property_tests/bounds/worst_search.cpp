// Greedy: one change at a time, kept unless the ratio falls, so that plateaus are crossed. The inputs move by whole
// values (a fresh draw, a sign, a power of two, an ulp); the roundings are an endless tape of signs, repeated, of which
// some are flipped.

#include "property_tests/bounds/worst_search.h"

#include <algorithm>
#include <cmath>

#include "reference/spec/text.h"

namespace ringproof {
namespace {

constexpr std::int64_t kSigns = 97;  // of the tape of roundings; a prime, so that it drifts over the keys

class Steps {
 public:
  explicit Steps(std::uint64_t seed) : seed_(seed) {}
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(hashed_bits(seed_, TensorRole::kDOut, next_++, 2) %
                                     static_cast<std::uint64_t>(end));
  }
  template <class T>
  T one_of(std::initializer_list<T> list) {
    return *(list.begin() + below(static_cast<std::int64_t>(list.size())));
  }
  double gauss() { return gauss_draw(seed_, TensorRole::kDOut, next_++); }

 private:
  std::uint64_t seed_;
  std::int64_t next_ = 0;
};

class Climb {
 public:
  Climb(const SimulatedDraw& start, std::uint64_t seed, const BoundForward& bound)
      : steps_(seed), bound_(bound), reference_(prepare(start.c, 1)), kernel_(start.kernel) {
    best_ = used_of(reference_, kernel_);
  }

  void step() {
    Reference reference = reference_;
    SimulatedKernel kernel = kernel_;
    switch (steps_.below(4)) {
      case 0: move_input(reference); break;
      case 1:
      case 2:
        if (kernel.directions.empty()) kernel.directions.assign(kSigns, 1);
        for (std::int64_t flips = 1 + steps_.below(3); flips > 0; --flips) {
          signed char& sign = kernel.directions[static_cast<std::size_t>(steps_.below(kSigns))];
          sign = static_cast<signed char>(-sign);
        }
        break;
      default: move_kernel(kernel);
    }
    const BoundsUsed used = used_of(reference, kernel);
    if (!(std::max(best_.out, best_.lse) <= std::max(used.out, used.lse))) return;
    best_ = used;
    reference_ = std::move(reference);
    kernel_ = std::move(kernel);
  }

  WorstFound found() const {
    std::string words = "'" + to_string(reference_.c) + "', " + to_string(kernel_);
    for (const std::string& field : looser_than_default(kernel_.arithmetic, reference_.c.problem.dtype)) {
      words += ", " + field;
    }
    for (const auto& [name, tensor] : {std::pair{"q", &reference_.inputs.q}, std::pair{"k", &reference_.inputs.k},
                                       std::pair{"v", &reference_.inputs.v}}) {
      words += std::string("; ") + name;
      const TensorView view = tensor->view();
      for (std::int64_t s = 0; s < view.shape[2]; ++s) {
        for (std::int64_t c = 0; c < view.shape[3]; ++c) words += " " + shortest(view.load(0, 0, s, c));
      }
    }
    return {best_, words, reference_, kernel_};
  }

 private:
  void move_kernel(SimulatedKernel& kernel) {
    if (kernel.arithmetic.tile_kv == 0) kernel.tile = steps_.one_of<std::int64_t>({1, 2, 4, 16});
    kernel.descending = steps_.below(2) == 0;
    if (reference_.c.problem.softmax_scale > 0) kernel.base_two = steps_.below(2) == 0;
    switch (steps_.below(3)) {
      case 0: kernel.directions.clear(); break;  // those that point away from the answer
      case 1: kernel.directions.assign(kSigns, steps_.below(2) == 0 ? 1 : -1); break;
      default: break;
    }
  }

  void move_input(Reference& reference) {
    const Tensor& tensor = *steps_.one_of({&reference.inputs.q, &reference.inputs.k, &reference.inputs.v});
    const TensorView view = tensor.view();
    const std::int64_t h = steps_.below(view.shape[1]), s = steps_.below(view.shape[2]),
                       c = steps_.below(view.shape[3]);
    const double value = view.load(0, h, s, c);
    const double ulp = std::ldexp(format_facts(view.dtype).unit_roundoff, std::ilogb(value == 0 ? 1 : value) + 1);
    const double fresh = steps_.gauss();
    view.store(0, h, s, c,
               steps_.one_of({fresh, 8 * fresh, -value, 2 * value, value / 2, value + ulp, value - ulp, 0.0, 1.0}));
    for (float& logit : reference.inputs.sink) {
      if (steps_.below(4) == 0) logit = static_cast<float>(4 * steps_.gauss());
    }
    const Inputs& in = reference.inputs;
    const Problem problem = with_data(reference.c.problem, in);
    reference.want = attention_forward(problem, in.q.view(), in.k.view(), in.v.view(), 1);
  }

  BoundsUsed used_of(const Reference& reference, const SimulatedKernel& kernel) const {
    return bounds_used(simulate(kernel, reference), reference.want,
                       bound_(reference.c, kernel.arithmetic, reference.want));
  }

  Steps steps_;
  BoundForward bound_;
  Reference reference_;
  SimulatedKernel kernel_;
  BoundsUsed best_;
};

}  // namespace

WorstFound search_worst(const SimulatedDraw& start, std::uint64_t seed, int steps, const BoundForward& bound) {
  Climb climb(start, seed, bound);
  for (int step = 0; step < steps; ++step) climb.step();
  return climb.found();
}

SimulatedDraw small_start(Dtype storage, std::uint64_t number) {
  Steps draw(number + 1);
  SimulatedDraw start;
  start.c.direction = Direction::kForward;
  Problem& p = start.c.problem;
  p.dtype = storage;
  p.mask = Mask{MaskKind::kFull};
  p.batch = p.heads_q = p.heads_kv = p.seqlen_q = p.head_dim_v = 1;
  p.seqlen_kv = 1 + draw.below(12);
  p.head_dim_qk = 1 + draw.below(4);
  p.softmax_scale = draw.one_of({1.0, 0.5, 0.125, 2.0});
  start.c.inputs = {RecipeKind::kGauss, 0, "", number};
  Arithmetic a;
  if (draw.below(3) == 0) a.merges = draw.below(4);
  if (draw.below(4) == 0) a.merge_is_lerp = true;
  if (draw.below(4) == 0) a.l_sums_cast_p = true;
  if (draw.below(6) == 0) a.p_is_normalised = true;
  if (draw.below(4) == 0) a.exp_error_relative = draw.one_of({8.8e-5, 0x1p-13});
  if (storage == Dtype::kF32 && draw.below(4) == 0) a.operand_dtype = Dtype::kTf32;
  if (storage != Dtype::kF32 && draw.below(4) == 0) a.p_dtype = Dtype::kF32;
  start.kernel.arithmetic = resolve(a, storage);
  start.kernel.tile = draw.one_of<std::int64_t>({1, 2, 4, 16});
  start.kernel.adversarial = true;
  return start;
}

}  // namespace ringproof

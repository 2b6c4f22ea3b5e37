// Greedy: one change at a time, kept unless the ratio falls, so that plateaus are crossed. The inputs move by whole
// values (a fresh draw, a sign, a power of two, an ulp); the roundings are an endless tape of signs, repeated, of which
// some are flipped.

#include "property_tests/bounds/worst_search.h"

#include <algorithm>
#include <cmath>

#include "reference/spec/text.h"

namespace ringproof {
namespace {

class Climb {
 public:
  Climb(Dtype storage, std::uint64_t start, const BoundForward& bound) : seed_(start + 1), bound_(bound) {
    Case c{};
    c.direction = Direction::kForward;
    Problem& p = c.problem;
    p.dtype = storage;
    p.mask = Mask{MaskKind::kFull};
    p.batch = p.heads_q = p.heads_kv = p.seqlen_q = p.head_dim_v = 1;
    p.seqlen_kv = 1 + below(12);
    p.head_dim_qk = 1 + below(4);
    p.softmax_scale = one_of({1.0, 0.5, 0.125, 2.0});
    c.inputs = {RecipeKind::kGauss, 0, "", start};
    reference_ = prepare(c, 1);
    Arithmetic a;
    if (below(3) == 0) a.merges = below(4);
    if (below(4) == 0) a.merge_is_lerp = true;
    if (below(4) == 0) a.l_sums_cast_p = true;
    if (below(6) == 0) a.p_is_normalised = true;
    if (below(4) == 0) a.exp_error_relative = one_of({8.8e-5, 0x1p-13});
    if (storage == Dtype::kF32 && below(4) == 0) a.operand_dtype = Dtype::kTf32;
    if (storage != Dtype::kF32 && below(4) == 0) a.p_dtype = Dtype::kF32;
    kernel_.arithmetic = resolve(a, storage);
    kernel_.tile = one_of<std::int64_t>({1, 2, 4, 16});
    kernel_.adversarial = true;
    for (int sign = 0; sign < 97; ++sign) kernel_.directions.push_back(below(2) == 0 ? 1 : -1);
    best_ = used_of(reference_, kernel_);
  }

  void step() {
    Reference reference = reference_;
    SimulatedKernel kernel = kernel_;
    switch (below(4)) {
      case 0: move_input(reference); break;
      case 1:
      case 2:
        for (std::int64_t flips = 1 + below(3); flips > 0; --flips) {
          signed char& sign = kernel.directions[static_cast<std::size_t>(below(97))];
          sign = static_cast<signed char>(-sign);
        }
        break;
      default:
        kernel.tile = one_of<std::int64_t>({1, 2, 4, 16});
        kernel.descending = below(2) == 0;
        kernel.base_two = below(2) == 0;
        if (below(3) == 0) kernel.directions.clear();  // those that point away from the answer
        if (kernel.directions.empty() && below(2) == 0) kernel.directions = kernel_.directions;
        if (kernel.directions.empty()) kernel.directions.assign(97, below(2) == 0 ? 1 : -1);
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
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(hashed_bits(seed_, TensorRole::kDOut, next_++, 2) %
                                     static_cast<std::uint64_t>(end));
  }
  template <class T>
  T one_of(std::initializer_list<T> list) {
    return *(list.begin() + below(static_cast<std::int64_t>(list.size())));
  }

  void move_input(Reference& reference) {
    const Tensor& tensor = *one_of({&reference.inputs.q, &reference.inputs.k, &reference.inputs.v});
    const TensorView view = tensor.view();
    const std::int64_t s = below(view.shape[2]), c = below(view.shape[3]);
    const double value = view.load(0, 0, s, c);
    const double ulp = std::ldexp(format_facts(view.dtype).unit_roundoff, std::ilogb(value == 0 ? 1 : value) + 1);
    const double fresh = gauss_draw(seed_, TensorRole::kDOut, next_++);
    view.store(0, 0, s, c,
               one_of({fresh, 8 * fresh, -value, 2 * value, value / 2, value + ulp, value - ulp, 0.0, 1.0}));
    const Inputs& in = reference.inputs;
    reference.want = attention_forward(reference.c.problem, in.q.view(), in.k.view(), in.v.view(), 1);
  }

  BoundsUsed used_of(const Reference& reference, const SimulatedKernel& kernel) const {
    return bounds_used(simulate(kernel, reference), reference.want,
                       bound_(reference.c, kernel.arithmetic, reference.want));
  }

  std::uint64_t seed_;
  std::int64_t next_ = 0;
  BoundForward bound_;
  Reference reference_;
  SimulatedKernel kernel_;
  BoundsUsed best_;
};

}  // namespace

WorstFound search_worst(Dtype storage, std::uint64_t start, int steps, const BoundForward& bound) {
  Climb climb(storage, start, bound);
  for (int step = 0; step < steps; ++step) climb.step();
  return climb.found();
}

}  // namespace ringproof

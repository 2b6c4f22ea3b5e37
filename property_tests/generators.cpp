// A Case is drawn whole, from rapidcheck's random numbers, before anything runs: a failure is one line of text,
// and shrinking it means asking shrink_candidates() for simpler lines.

#include "property_tests/generators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>

#include "reference/judge/shrink.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

class Draw {
 public:
  explicit Draw(const rc::Random& random) : random_(random) {}
  std::uint64_t bits() { return random_.next(); }
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(std::max<std::int64_t>(end, 1)));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }
  template <class List>
  auto one_of(const List& list) {
    return *(std::begin(list) + below(static_cast<std::int64_t>(std::size(list))));
  }

 private:
  rc::Random random_;
};

double rounded_scalar(double value, Dtype storage) {
  return storage == Dtype::kF64 ? value : static_cast<double>(static_cast<float>(value));
}

std::int64_t draw_length(Draw& draw, int size) {
  if (draw.one_in(24)) return 0;
  if (draw.one_in(12)) return 1;
  return 1 + draw.below(8 + 72 * size / rc::kNominalSize);
}

// Documents of any lengths, many of them empty, mostly with a rest behind the last.
void draw_documents(Draw& draw, const Problem& p, Mask& mask) {
  std::int64_t rest_q = p.seqlen_q, rest_kv = p.seqlen_kv;
  for (std::int64_t documents = 1 + draw.below(5); documents > 0; --documents) {
    mask.document_lengths_q.push_back(draw.one_in(8) ? 0 : draw.below(rest_q + 1));
    mask.document_lengths_kv.push_back(draw.one_in(8) ? 0 : draw.below(rest_kv + 1));
    rest_q -= mask.document_lengths_q.back();
    rest_kv -= mask.document_lengths_kv.back();
  }
  mask.document_causal = draw.one_in(2);
}

Mask draw_mask(Draw& draw, MaskKind kind, const Problem& p) {
  Mask mask{kind};
  if (kind == MaskKind::kWindow) {
    mask.window_left = draw.one_in(4) ? -1 : draw.below(24);
    mask.window_right = draw.one_in(4) ? -1 : draw.below(12);
  }
  if (kind == MaskKind::kDocument) draw_documents(draw, p, mask);
  if (kind == MaskKind::kBlockSparse) {
    mask.block_q = 1 + draw.below(24);
    mask.block_kv = 1 + draw.below(24);
    mask.block_share_kept = draw.one_of(std::array{0.0, 0.25, 0.5, 0.5, 0.8, 1.0});
    mask.block_seed = draw.bits() >> 44;
  }
  return mask;
}

InputRecipe draw_recipe(Draw& draw) {
  using enum RecipeKind;
  constexpr std::array kKinds{kGauss, kGauss,       kUniformProbe, kWalshProbe, kHeadCoded,
                              kExact, kLargeOffset, kPeaked,       kAscending,  kDescending,
                              kSink,  kOutlier,     kNearTies,     kDuplicated, kCancelling};
  InputRecipe recipe{draw.one_of(kKinds), 0, "", draw.bits() >> 44};
  if (recipe.kind == kLargeOffset) recipe.offset = draw.one_of(std::array{12, -12, 100, -200, 2000, -10000});
  return recipe;
}

Memory draw_memory(Draw& draw, std::int64_t batch) {
  Memory memory;
  if (draw.one_in(2)) return memory;
  memory.order = draw.one_of(std::array{AxisOrder::kBhsd, AxisOrder::kBshd, AxisOrder::kThd});
  if (memory.order == AxisOrder::kThd && batch != 1) memory.order = AxisOrder::kBshd;
  memory.gap = draw.one_of(std::array{0, 0, 1, 5, 8});
  memory.broadcast_kv = draw.one_in(6);
  memory.dim2 = draw.one_in(6);
  memory.mixed = draw.one_in(6);
  // What only an odd memory shows; require_judgeable sends back what does not go together.
  memory.huge_batch = draw.one_in(16);
  memory.huge_seq = draw.one_in(24);
  memory.page_end = draw.one_in(8);
  memory.v_in_k = draw.one_in(10);
  memory.nan_level = draw.one_in(3) ? static_cast<int>(1 + draw.below(2)) : 0;
  return memory;
}

// q = k = v, where their shapes agree.
void draw_alias(Draw& draw, Case& c) {
  const Problem& p = c.problem;
  const bool fits = p.shape_q() == p.shape_k() && p.shape_k() == p.shape_v() && !c.memory.broadcast_kv;
  if (!fits || !draw.one_in(3)) return;
  c.memory.alias = true;
  c.memory.v_in_k = false;
  c.memory.nan_level = 0;
}

void draw_scalars(Draw& draw, const CaseSpace& space, Problem& p) {
  if (space.softcap && draw.one_in(4)) p.softcap = draw.one_of(std::array{1.0, 5.0, 30.0});
  p.has_sink = space.sink && draw.one_in(4);
  if (!is_fp8(p.dtype) || draw.one_in(3)) return;
  constexpr std::array kFactors{0.25f, 0.7f, 1.0f, 1.3f, 3.0f};
  for (double* descale : {&p.descale_q, &p.descale_k, &p.descale_v}) *descale = draw.one_of(kFactors);
}

Case draw_case(Draw& draw, const CaseSpace& space, int size) {
  Case c{};
  c.direction = Direction::kForward;
  Problem& p = c.problem;
  p.dtype = draw.one_of(space.dtypes);
  p.topology = draw.one_of(space.topologies);
  p.batch = 1 + draw.below(2);
  p.heads_kv = 1 + draw.below(3);
  p.heads_q = p.heads_kv * (space.grouped_heads ? 2 + draw.below(6 / p.heads_kv - 1) : 1 + draw.below(6 / p.heads_kv));
  p.seqlen_q = draw_length(draw, size);
  p.seqlen_kv = draw.one_in(3) ? p.seqlen_q : draw_length(draw, size);
  p.head_dim_qk = 1 + draw.below(40);
  p.head_dim_v = draw.one_in(2) ? p.head_dim_qk : 1 + draw.below(40);
  p.mask = draw_mask(draw, draw.one_of(space.masks), p);
  const double usual = 1 / std::sqrt(static_cast<double>(p.head_dim_qk));
  p.softmax_scale = rounded_scalar(draw.one_of(std::array{usual, usual, usual, usual, 1.0, 0.1, -0.5, 0.0}), p.dtype);
  draw_scalars(draw, space, p);
  c.inputs = draw_recipe(draw);
  if (space.special && draw.one_in(6)) c.inputs = {RecipeKind::kSpecial, 0, "", draw.bits() >> 44};
  c.memory = draw_memory(draw, p.batch);
  draw_alias(draw, c);
  return c;
}

bool is_judgeable(const Case& c) {
  try {
    validate(c);
    require_judgeable(c, UINT64_MAX);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

bool is_well_formed(const Case& c) {
  try {
    validate(c);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

template <class Enum>
std::vector<Enum> members(std::uint32_t set, Enum last) {
  std::vector<Enum> found;
  for (int value = 0; value <= static_cast<int>(last); ++value) {
    if (set & bit_of(static_cast<Enum>(value))) found.push_back(static_cast<Enum>(value));
  }
  return found;
}

template <class List, class Value>
bool has(const List& list, const Value& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// The first Case that `draw` makes and `is_good` takes.
template <class Make, class IsGood>
rc::Gen<Case> drawn(const Make& make, const IsGood& is_good, const std::function<bool(const Case&)>& lies_inside) {
  return [=](const rc::Random& random, int size) {
    Draw draw(random);
    Case c = make(draw, size);
    for (int attempts = 0; !is_good(c); ++attempts) {
      assert_that(attempts < 10'000, "a space of Cases must not be empty");
      c = make(draw, size);
    }
    return rc::shrinkable::shrinkRecur(c, [lies_inside](const Case& from) {
      std::vector<Case> simpler = shrink_candidates(from);
      std::erase_if(simpler, [&](const Case& one) { return !lies_inside(one); });
      return rc::seq::fromContainer(std::move(simpler));
    });
  };
}

// A finite number of any magnitude; of a float's where the storage rounds scalars.
double draw_number(Draw& draw, Dtype storage) {
  if (draw.one_in(3)) return static_cast<double>(draw.below(2000) - 1000) / 8;
  const double mantissa = static_cast<double>(draw.bits() >> 11) * 0x1p-53 + 1;
  const int exponent = static_cast<int>(draw.below(storage == Dtype::kF64 ? 2000 : 240));
  return rounded_scalar(
      std::ldexp(draw.one_in(2) ? mantissa : -mantissa, exponent - (storage == Dtype::kF64 ? 1000 : 120)), storage);
}

std::int64_t draw_size(Draw& draw) { return std::int64_t{1} + draw.below(std::int64_t{1} << draw.below(15)); }

Mask draw_any_mask(Draw& draw, const Problem& p) {
  Mask mask = draw_mask(draw, static_cast<MaskKind>(draw.below(6)), p);
  if (mask.kind == MaskKind::kBlockSparse) {
    mask.block_q = draw_size(draw);
    mask.block_kv = draw_size(draw);
    mask.block_share_kept = static_cast<double>(draw.bits() >> 11) * 0x1p-53;
    mask.block_seed = draw.bits();
  }
  return mask;
}

Topology draw_any_topology(Draw& draw) {
  Topology topology{static_cast<Schedule>(draw.below(6))};
  if (topology.schedule == Schedule::kSingle) return topology;
  topology.rank_count = static_cast<std::int32_t>(1 + draw.below(64));
  const bool is_hybrid = draw.one_in(3) && topology.schedule <= Schedule::kZigzag;
  if (is_hybrid) topology.head_split_ranks = static_cast<std::int32_t>(2 + draw.below(7));
  topology.rank_count *= topology.head_split_ranks;
  return topology;
}

Memory draw_any_memory(Draw& draw, std::int64_t batch) {
  Memory memory = draw_memory(draw, batch);
  for (bool* flag : {&memory.huge_batch, &memory.huge_seq, &memory.page_end, &memory.alias, &memory.v_in_k}) {
    *flag = draw.one_in(5);
  }
  memory.nan_level = static_cast<int>(draw.below(3));
  return memory;
}

Case draw_grammar(Draw& draw, int) {
  Case c{};
  c.direction = static_cast<Direction>(draw.below(3));
  Problem& p = c.problem;
  p.dtype = static_cast<Dtype>(1 + draw.below(6));
  p.batch = draw_size(draw);
  p.heads_kv = draw_size(draw);
  p.heads_q = p.heads_kv * (1 + draw.below(8));
  p.seqlen_q = draw_size(draw) - 1;
  p.seqlen_kv = draw_size(draw) - 1;
  p.head_dim_qk = draw_size(draw);
  p.head_dim_v = draw.one_in(2) ? p.head_dim_qk : draw_size(draw);
  p.mask = draw_any_mask(draw, p);
  p.softmax_scale = draw_number(draw, p.dtype);
  if (draw.one_in(3)) p.softcap = std::fabs(draw_number(draw, p.dtype));
  p.has_sink = draw.one_in(3);
  if (draw.one_in(3)) {
    for (double* descale : {&p.descale_q, &p.descale_k, &p.descale_v}) *descale = std::fabs(draw_number(draw, p.dtype));
  }
  c.inputs = {static_cast<RecipeKind>(draw.below(16)), 0, "", draw.bits() >> draw.below(64)};
  if (c.inputs.kind == RecipeKind::kLargeOffset) c.inputs.offset = draw_number(draw, Dtype::kF64);
  if (c.inputs.kind == RecipeKind::kReal) c.inputs.real_name = draw.one_of(std::array{"minilm.0", "smollm2.18", "x"});
  c.memory = draw_any_memory(draw, p.batch);
  p.topology = draw_any_topology(draw);
  return c;
}

}  // namespace

CaseSpace space_of(const Candidate& candidate) {
  const Description description = candidate.describe(Dtype::kDefault, Direction::kForward);
  CaseSpace space{members(description.dtypes, Dtype::kF8E5m2), members(description.masks, MaskKind::kBlockSparse), {}};
  space.softcap = description.has(kSoftcap);
  space.sink = description.has(kSink);
  const bool splits_heads = (description.schedules & bit_of(Schedule::kHeadSplit)) != 0;
  for (const Schedule schedule : members(description.schedules, Schedule::kAllGather)) {
    for (const std::int32_t ranks : {1, 2, 3, 4, 5, 7, 8}) {
      if (schedule != Schedule::kSingle || ranks == 1) space.topologies.push_back({schedule, ranks});
    }
    const bool is_ring = schedule != Schedule::kSingle && schedule <= Schedule::kZigzag;
    for (const std::int32_t ranks : {2, 4, 6}) {
      if (splits_heads && is_ring) space.topologies.push_back({schedule, ranks, 2});
    }
  }
  return space;
}

bool lies_in(const CaseSpace& space, const Case& c) {
  const Problem& p = c.problem;
  return c.direction == Direction::kForward && has(space.dtypes, p.dtype) && has(space.masks, p.mask.kind) &&
         has(space.topologies, p.topology) && (space.softcap || p.softcap == 0) && (space.sink || !p.has_sink) &&
         (!space.grouped_heads || p.heads_q != p.heads_kv);
}

rc::Gen<Case> cases_of(const CaseSpace& space) {
  return drawn([space](Draw& draw, int size) { return draw_case(draw, space, size); }, is_judgeable,
               [space](const Case& c) { return lies_in(space, c); });
}

rc::Gen<Case> cases_of_the_grammar() {
  return drawn(draw_grammar, is_well_formed, [](const Case&) { return true; });
}

void showValue(const Case& c, std::ostream& to) { to << "'" << to_string(c) << "'"; }

}  // namespace ringproof

// Each property runs the candidate on inputs and on changed inputs whose exact answers are known to agree, and
// compares what came back (property_answer.cpp says how). None of them knows the answer itself: a fault in the oracle's
// formula would not hide here.

#include "reference/judge/properties.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference/spec/text.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The Case with K and V in memory of their own, so that one can be changed without the other.
Case apart(Case c) {
  c.memory.alias = c.memory.v_in_k = c.memory.broadcast_kv = false;
  c.memory.nan_level = 0;
  return c;
}

Inputs inputs_of(const Case& c) { return make_inputs(c.problem, c.inputs, c.memory); }

std::uint64_t draw(const Case& c, std::int64_t index) {
  return hashed_bits(c.inputs.seed, TensorRole::kSink, index, 0);
}

std::int64_t draw_below(const Case& c, std::int64_t index, std::int64_t end) {
  return static_cast<std::int64_t>(draw(c, index) % static_cast<std::uint64_t>(end));
}

double load(const TensorView& view, const ElementIndex& at) { return view.load(at.batch, at.head, at.row, at.column); }

void negate_elements(const Tensor& tensor, const Counts& which) {
  const TensorView view = tensor.view();
  for_each_element(tensor.shape(), [&](const ElementIndex& at) {
    if (!which(at)) return;
    const double value = load(view, at);
    view.store(at.batch, at.head, at.row, at.column, value == 0 ? 1 : -value);
  });
}

// A tensor of `shape` whose element `at` is that of `from` at source(at).
template <class Source>
Tensor rearranged(const Tensor& from, const Shape& shape, const Source& source) {
  Tensor to(from.dtype(), shape);
  const TensorView target = to.view();
  for_each_element(shape, [&](const ElementIndex& at) {
    target.store(at.batch, at.head, at.row, at.column, load(from.view(), source(at)));
  });
  return to;
}

bool always(const Candidate&, const Description&, const Case&) { return true; }

}  // namespace

PropertyResult rows_are_convex_combinations(const Candidate& candidate, const Case& original,
                                            const PropertyMemory& memory) {
  const Case c = apart(original);
  const Inputs inputs = inputs_of(c);
  const TensorView v = inputs.v.view();
  const Visibility visibility(c.problem);
  return leave_limits(answer_to(candidate, c, memory, inputs), [&](const ElementIndex& at) {
    std::pair<double, double> limits{kInfinity, -kInfinity};
    for (const KeyRange& seen : visibility.ranges(at.row)) {
      for (std::int64_t key = seen.begin; key < seen.end; ++key) {
        const double value =
            c.problem.descale_v * v.load(at.batch, at.head / c.problem.heads_per_group(), key, at.column);
        limits = {std::min(limits.first, value), std::max(limits.second, value)};
      }
    }
    // The sink is a key whose value is 0.
    if (c.problem.has_sink) limits = {std::min(limits.first, 0.0), std::max(limits.second, 0.0)};
    return limits;
  });
}

PropertyResult constant_values_are_returned(const Candidate& candidate, const Case& original,
                                            const PropertyMemory& memory) {
  const Case c = apart(original);
  const Inputs inputs = inputs_of(c);
  const auto constant = [&](std::int64_t b, std::int64_t h_kv, std::int64_t column) {
    return static_cast<double>(draw_below(c, (b * 64 + h_kv) * 64 + column, 31)) / 8 - 2;
  };
  const TensorView v = inputs.v.view();
  for_each_element(inputs.v.shape(), [&](const ElementIndex& at) {
    v.store(at.batch, at.head, at.row, at.column, constant(at.batch, at.head, at.column));
  });
  const Visibility visibility(c.problem);
  return leave_limits(
      answer_to(candidate, c, memory, inputs), [&](const ElementIndex& at) -> std::pair<double, double> {
        if (visibility.count(at.row) == 0) return {kInfinity, -kInfinity};
        // As storage holds it: fp8 has no eighth of everything.
        const double value =
            round_to(c.problem.dtype, constant(at.batch, at.head / c.problem.heads_per_group(), at.column));
        return {c.problem.descale_v * value, c.problem.descale_v * value};
      });
}

PropertyResult values_enter_linearly(const Candidate& candidate, const Case& original, const PropertyMemory& memory) {
  const Case c = apart(original);
  const Inputs whole = inputs_of(c);
  const auto on_half = [&](bool first) {
    Inputs half = whole;
    const TensorView v = half.v.view();
    for_each_element(half.v.shape(), [&](const ElementIndex& at) {
      if ((draw(c, at.row) % 2 == 0) != first) v.store(at.batch, at.head, at.row, at.column, 0);
    });
    return half;
  };
  const PropertyAnswer one = answer_to(candidate, c, memory, on_half(true)),
                       other = answer_to(candidate, c, memory, on_half(false));
  const PropertyAnswer sum = answer_to(candidate, c, memory, whole);
  for (const PropertyAnswer* answer : {&one, &other, &sum}) {
    if (answer->trouble.outcome != Outcome::kAccepted) return answer->trouble;
  }
  const Visibility visibility(c.problem);
  std::size_t linear = 0;
  std::int64_t compared = 0;
  std::string sentence;
  for_each_element(sum.got.out.shape(), [&](const ElementIndex& at) {
    const std::size_t index = linear++;
    if (!sentence.empty() || visibility.count(at.row) == 0) return;
    const double a = load(one.got.out.view(), at), b = load(other.got.out.view(), at);
    const double want = a + b, got = load(sum.got.out.view(), at);
    // One rounding of a + b, and those of this sum of bounds.
    const double bound =
        (one.bounds.out[index] + other.bounds.out[index] + sum.bounds.out[index] + 0x1p-53 * std::fabs(want)) *
        (1 + 0x1p-50);
    if (!std::isnan(got) && !std::isnan(want) && !std::isfinite(bound)) return;
    ++compared;
    if (got == want || std::fabs(got - want) <= bound) return;
    sentence = name_of("out", at) + " is " + shortest(got) + ", and " + shortest(want) +
               " as the sum over two halves of V, further apart than their bounds, " + shortest(bound);
  });
  if (!sentence.empty()) return {Outcome::kRejected, sentence};
  return compared > 0 ? PropertyResult{} : nothing_to_compare();
}

PropertyResult common_offset_changes_nothing(const Candidate& candidate, const Case& original,
                                             const PropertyMemory& memory) {
  const Case c = apart(original);
  const Inputs plain = inputs_of(c);
  // Powers of two, so that storage holds them: scores gain between 4 and 8.
  const double factor = c.problem.score_scale();
  const double offset = std::ldexp(1.0, 2 - std::ilogb(factor));
  const auto with_offset = [&](double k_0) {
    Inputs inputs = plain;
    for (const auto& [tensor, first] : {std::pair{&inputs.q, 1.0}, std::pair{&inputs.k, k_0}}) {
      const TensorView view = tensor->view();
      for_each_element(tensor->shape(), [&, value = first](const ElementIndex& at) {
        if (at.column == 0) view.store(at.batch, at.head, at.row, 0, value);
      });
    }
    return inputs;
  };
  const PropertyAnswer still = answer_to(candidate, c, memory, with_offset(0));
  PropertyAnswer moved = answer_to(candidate, c, memory, with_offset(offset));
  if (moved.trouble.outcome == Outcome::kAccepted) {
    // lse moves by factor times a power of two; taking it back in double rounds once, below an ulp of what is there.
    const TensorView lse = moved.got.lse.view();
    Tensor back(Dtype::kF64, moved.got.lse.shape());
    std::size_t linear = 0;
    for_each_element(back.shape(), [&](const ElementIndex& at) {
      const double value = load(lse, at);
      back.view().store(at.batch, at.head, at.row, 0, value - factor * offset);
      moved.bounds.lse[linear++] += 0x1p-51 * (std::fabs(value) + std::fabs(factor * offset));
    });
    moved.got.lse = std::move(back);
  }
  return differ(still, moved, false);
}

PropertyResult hidden_keys_change_nothing(const Candidate& candidate, const Case& original,
                                          const PropertyMemory& memory) {
  const Case c = apart(original);
  const Visibility visibility(c.problem);
  const std::int64_t row = draw_below(c, 0, c.problem.seqlen_q);
  const Inputs inputs = inputs_of(c), changed = inputs_of(c);
  const Counts hidden = [&](const ElementIndex& at) { return !visibility.sees(row, at.row); };
  negate_elements(changed.k, hidden);
  negate_elements(changed.v, hidden);
  const PropertyAnswer before = answer_to(candidate, c, memory, inputs),
                       after = answer_to(candidate, c, memory, changed);
  // Rows that see keys of that row alone.
  std::vector<bool> untouched(static_cast<std::size_t>(c.problem.seqlen_q));
  for (std::int64_t other = 0; other < c.problem.seqlen_q; ++other) {
    const std::vector<KeyRange> seen = visibility.ranges(other);
    untouched[static_cast<std::size_t>(other)] = std::all_of(seen.begin(), seen.end(), [&](const KeyRange& range) {
      for (std::int64_t key = range.begin; key < range.end; ++key) {
        if (!visibility.sees(row, key)) return false;
      }
      return true;
    });
  }
  return differ(before, after, before.is_batch_invariant,
                [&](const ElementIndex& at) { return untouched[static_cast<std::size_t>(at.row)]; });
}

PropertyResult other_heads_change_nothing(const Candidate& candidate, const Case& original,
                                          const PropertyMemory& memory) {
  const Case c = apart(original);
  const Problem& p = c.problem;
  const std::int64_t batch = draw_below(c, 1, p.batch), head_kv = draw_below(c, 2, p.heads_kv);
  const Inputs inputs = inputs_of(c), changed = inputs_of(c);
  const Counts is_other = [&](const ElementIndex& at) { return at.batch != batch || at.head != head_kv; };
  const Counts is_kept = [&](const ElementIndex& at) {
    return at.batch == batch && at.head / p.heads_per_group() == head_kv;
  };
  negate_elements(changed.q, [&](const ElementIndex& at) { return !is_kept(at); });
  negate_elements(changed.k, is_other);
  negate_elements(changed.v, is_other);
  const PropertyAnswer before = answer_to(candidate, c, memory, inputs),
                       after = answer_to(candidate, c, memory, changed);
  return differ(before, after, before.is_batch_invariant, is_kept);
}

PropertyResult key_order_changes_nothing(const Candidate& candidate, const Case& original,
                                         const PropertyMemory& memory) {
  const Case c = apart(original);
  std::vector<std::int64_t> order(static_cast<std::size_t>(c.problem.seqlen_kv));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return draw(c, a) < draw(c, b); });
  const Inputs inputs = inputs_of(c);
  Inputs permuted = inputs;
  for (const auto& [from, to] : {std::pair{&inputs.k, &permuted.k}, std::pair{&inputs.v, &permuted.v}}) {
    *to = rearranged(*from, from->shape(), [&](ElementIndex at) {
      at.row = order[static_cast<std::size_t>(at.row)];
      return at;
    });
  }
  return differ(answer_to(candidate, c, memory, inputs), answer_to(candidate, c, memory, permuted), false);
}

PropertyResult grouped_heads_equal_repeated_heads(const Candidate& candidate, const Case& original,
                                                  const PropertyMemory& memory) {
  const Case c = apart(original);
  const Inputs grouped = inputs_of(c);
  Case repeated = c;
  repeated.problem.heads_kv = c.problem.heads_q;
  const auto of_group = [&](ElementIndex at) {
    at.head /= c.problem.heads_per_group();
    return at;
  };
  Inputs inputs = grouped;
  inputs.k = rearranged(grouped.k, repeated.problem.shape_k(), of_group);
  inputs.v = rearranged(grouped.v, repeated.problem.shape_v(), of_group);
  return differ(answer_to(candidate, c, memory, grouped), answer_to(candidate, repeated, memory, inputs), false);
}

PropertyResult whole_window_equals_causal(const Candidate& candidate, const Case& original,
                                          const PropertyMemory& memory) {
  const Case c = apart(original);
  Case window = c;
  window.problem.mask = Mask{MaskKind::kWindow, c.problem.seqlen_kv - 1, 0};
  const Inputs inputs = inputs_of(c);
  return differ(answer_to(candidate, c, memory, inputs), answer_to(candidate, window, memory, inputs), false);
}

PropertyResult padding_changes_nothing(const Candidate& candidate, const Case& original, const PropertyMemory& memory) {
  const Case c = apart(original);
  const std::int64_t more = 1 + draw_below(c, 3, 9);
  Case padded = c;
  padded.problem.seqlen_q += more;
  padded.problem.seqlen_kv += more;
  const Inputs inputs = inputs_of(c);
  Inputs longer = inputs;
  for (const auto& [from, to] :
       {std::pair{&inputs.q, &longer.q}, std::pair{&inputs.k, &longer.k}, std::pair{&inputs.v, &longer.v}}) {
    Shape shape = from->shape();
    const std::int64_t rows = shape[2];
    shape[2] += more;
    *to = rearranged(*from, shape, [&](ElementIndex at) {
      at.row %= rows;
      return at;
    });
  }
  return differ(answer_to(candidate, c, memory, inputs), answer_to(candidate, padded, memory, longer), false);
}

// O = w O_1 + (1 - w) O_2 with w = sigmoid(lse_1 - lse_2), whose slope is at most 1/4. With E the bounds of lse and B
// those of O, and w as computed,
//
//   |merged - O| <= w B_1 + (1 - w) B_2 + min(1, (E_1 + E_2) / 4) (|O_1 - O_2| + B_1 + B_2)
//
// and logsumexp moves by no more than the larger of its arguments does.
PropertyResult merged_halves_equal_the_whole(const Candidate& candidate, const Case& original,
                                             const PropertyMemory& memory) {
  const Case c = apart(original);
  const std::int64_t cut = 1 + draw_below(c, 4, c.problem.seqlen_kv - 1);
  const Inputs whole = inputs_of(c);
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    Case half = c;
    half.problem.seqlen_kv = end - begin;
    Inputs inputs = whole;
    const auto behind = [&](ElementIndex at) {
      at.row += begin;
      return at;
    };
    inputs.k = rearranged(whole.k, half.problem.shape_k(), behind);
    inputs.v = rearranged(whole.v, half.problem.shape_v(), behind);
    return answer_to(candidate, half, memory, inputs);
  };
  const PropertyAnswer one = part(0, cut), other = part(cut, c.problem.seqlen_kv);
  PropertyAnswer merged = answer_to(candidate, c, memory, whole);
  const PropertyAnswer want = merged;
  for (const PropertyAnswer* answer : {&one, &other, &want}) {
    if (answer->trouble.outcome != Outcome::kAccepted) return answer->trouble;
  }
  if (!one.got.has_lse || !other.got.has_lse) return nothing_to_compare();
  Tensor out(Dtype::kF64, want.got.out.shape()), lse(Dtype::kF64, want.got.lse.shape());
  std::size_t linear = 0;
  for_each_element(out.shape(), [&](const ElementIndex& at) {
    const std::size_t row = linear / static_cast<std::size_t>(out.shape()[3]), index = linear++;
    const ElementIndex at_row{at.batch, at.head, at.row, 0};
    const double l_1 = load(one.got.lse.view(), at_row), l_2 = load(other.got.lse.view(), at_row);
    const double o_1 = load(one.got.out.view(), at), o_2 = load(other.got.out.view(), at);
    const double b_1 = one.bounds.out[index], b_2 = other.bounds.out[index];
    const double e_1 = one.bounds.lse[row], e_2 = other.bounds.lse[row];
    const double w = 1 / (1 + std::exp(l_2 - l_1)), rest = 1 / (1 + std::exp(l_1 - l_2));
    const double apart_most = std::fabs(o_1 - o_2) + b_1 + b_2;
    const double bound = w * b_1 + rest * b_2 + std::min(1.0, (e_1 + e_2) / 4) * apart_most;
    out.view().store(at.batch, at.head, at.row, at.column, w * o_1 + rest * o_2);
    // exp and these sums err by a few units of a double.
    merged.bounds.out[index] = bound * (1 + 0x1p-48) + 0x1p-49 * (std::fabs(o_1) + std::fabs(o_2));
    lse.view().store(at.batch, at.head, at.row, 0, std::max(l_1, l_2) + std::log1p(std::exp(-std::fabs(l_1 - l_2))));
    merged.bounds.lse[row] = std::max(e_1, e_2) + 0x1p-50 * (std::fabs(l_1) + std::fabs(l_2) + 1);
  });
  merged.got.out = std::move(out);
  merged.got.lse = std::move(lse);
  return differ(want, merged, false);
}

PropertyResult topology_changes_nothing(const Candidate& ring, const Case& original, const PropertyMemory& memory) {
  const Case c = apart(original);
  Case single = c;
  single.problem.topology = {Schedule::kSingle};
  const Inputs inputs = inputs_of(c);
  return differ(answer_to(ring, c, memory, inputs), answer_to(ring, single, memory, inputs), false);
}

PropertyResult one_rank_equals_single(const Candidate& ring, const Candidate& single, const Case& original,
                                      const PropertyMemory& memory, bool in_bits) {
  Case one = apart(original);
  one.problem.topology = {Schedule::kSingle};
  const Inputs inputs = inputs_of(one);
  const PropertyAnswer want = answer_to(single, one, memory, inputs);
  if (want.trouble.outcome != Outcome::kAccepted) return want.trouble;
  const Description description = ring.describe(Dtype::kDefault, one.direction);
  PropertyResult result = nothing_to_compare();
  for (const Schedule schedule : {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag}) {
    if ((description.schedules & bit_of(schedule)) == 0) continue;
    one.problem.topology = {schedule, 1};
    PropertyResult here = differ(answer_to(ring, one, memory, inputs), want, in_bits);
    if (here.outcome == Outcome::kAccepted) result = {};
    if (here.outcome == Outcome::kAccepted || here.outcome == Outcome::kUnsupported) continue;
    here.sentence = to_string(one.problem.topology) + ": " + here.sentence;
    return here;
  }
  return result;
}

PropertyResult one_rank_equals_one_device(const Candidate& ring, const Case& c, const PropertyMemory& memory) {
  return one_rank_equals_single(ring, ring, c, memory);
}

const std::vector<Property>& properties() {
  static const std::vector<Property> all{
      {"rows are convex combinations", always, rows_are_convex_combinations},
      {"a constant V is returned",
       [](const Candidate&, const Description&, const Case& c) { return !c.problem.has_sink; },
       constant_values_are_returned},
      {"values enter linearly", always, values_enter_linearly},
      {"a common offset changes nothing",
       [](const Candidate&, const Description&, const Case& c) {
         const double scale = std::fabs(c.problem.score_scale());
         // The offset must be a number of the storage, and one that scores of its rounding survive.
         return c.problem.softcap == 0 && !c.problem.has_sink && 0x1p-6 <= scale && scale <= 0x1p6;
       },
       common_offset_changes_nothing},
      {"hidden keys change nothing",
       [](const Candidate&, const Description&, const Case& c) {
         return c.problem.mask.kind != MaskKind::kFull && c.problem.seqlen_q > 0;
       },
       hidden_keys_change_nothing},
      {"other heads change nothing",
       [](const Candidate&, const Description&, const Case& c) { return c.problem.batch * c.problem.heads_kv > 1; },
       other_heads_change_nothing},
      {"the order of keys changes nothing",
       [](const Candidate&, const Description&, const Case& c) { return c.problem.mask.kind == MaskKind::kFull; },
       key_order_changes_nothing},
      {"grouped heads equal repeated heads",
       [](const Candidate&, const Description&, const Case& c) { return c.problem.heads_per_group() > 1; },
       grouped_heads_equal_repeated_heads},
      {"the whole window equals causal",
       [](const Candidate&, const Description& description, const Case& c) {
         return c.problem.mask.kind == MaskKind::kCausalBottomRight && c.problem.seqlen_kv > 0 &&
                (description.masks & bit_of(MaskKind::kWindow)) != 0;
       },
       whole_window_equals_causal},
      {"padding changes nothing",
       [](const Candidate&, const Description&, const Case& c) {
         // What is padded with is repeated from what is there.
         return c.problem.mask.kind == MaskKind::kDocument && c.problem.seqlen_q > 0 && c.problem.seqlen_kv > 0;
       },
       padding_changes_nothing},
      {"merged halves equal the whole",
       [](const Candidate&, const Description& description, const Case& c) {
         return c.problem.mask.kind == MaskKind::kFull && c.problem.topology.rank_count == 1 && !c.problem.has_sink &&
                c.problem.seqlen_kv > 1 && description.has(kWritesLse);
       },
       merged_halves_equal_the_whole},
      {"the topology changes nothing",
       [](const Candidate&, const Description&, const Case& c) { return c.problem.topology.rank_count > 1; },
       topology_changes_nothing},
      {"one rank equals one device",
       [](const Candidate& candidate, const Description&, const Case& c) {
         return candidate.on_ranks != nullptr && c.problem.topology.rank_count == 1;
       },
       one_rank_equals_one_device},
  };
  return all;
}

void PropertyExaminer::examine(const Candidate& candidate, const Case& c, const PropertyMemory& memory,
                               Evidence& evidence) {
  try {
    ask(candidate, c, memory, evidence);
  } catch (const std::exception& error) {
    evidence.left_open.push_back(std::string("its properties could not be asked: ") + error.what());
  }
}

void PropertyExaminer::ask(const Candidate& candidate, const Case& c, const PropertyMemory& memory,
                           Evidence& evidence) {
  constexpr int kCasesPerProperty = 2;
  constexpr std::int64_t kProductsMax = std::int64_t{1} << 22;
  const Problem& p = c.problem;
  // In double, where no product of lengths overflows.
  const double products = static_cast<double>(p.batch * p.heads_q) * static_cast<double>(p.seqlen_q) *
                          static_cast<double>(p.seqlen_kv) * static_cast<double>(p.head_dim_qk + p.head_dim_v);
  const bool is_judged = evidence.status == CallStatus::kReturned && c.inputs.kind != RecipeKind::kSpecial;
  if (!is_judged || products > static_cast<double>(kProductsMax)) return;
  // What the judged call wrote late is its own fault, and no property's.
  const std::vector<std::string> late = written_late(memory.buffers);
  if (!late.empty()) memory.buffers.case_line.clear();
  evidence.structure_faults.insert(evidence.structure_faults.end(), late.begin(), late.end());
  const Description description = candidate.describe(p.dtype, c.direction);
  for (const Property& property : properties()) {
    if (!property.applies(candidate, description, c)) continue;
    int& asked = asked_[{candidate.name, p.dtype, p.mask.kind, property.name}];
    if (asked++ >= kCasesPerProperty) continue;
    const PropertyResult result = property.holds(candidate, c, memory);
    const std::string sentence = std::string(property.name) + ": " + result.sentence;
    if (result.outcome == Outcome::kUnsupported && !result.is_refusal) --asked, ++evidence.count_properties_left_out;
    if (result.is_refusal) ++evidence.count_properties_refused;
    if (result.outcome == Outcome::kAccepted) ++evidence.count_properties;
    if (result.outcome == Outcome::kRejected) evidence.property_faults.push_back(sentence);
    if (result.outcome == Outcome::kInconclusive) evidence.left_open.push_back(sentence);
  }
}

}  // namespace ringproof

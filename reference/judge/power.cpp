// Minimum detectable effects and floor faults (candidates.md). The judge itself is asked: an altered answer goes
// through compare and failing_checks like a candidate's. x is found by bisection on its logarithm, started from the
// share of its bound that the largest x uses, because errors grow about linearly with x.
//
// The yardstick is a ratio: four times what sound kernels may declare, each field by itself. Together, on scores far
// from zero or on long rows, they can still let everything pass. So there is one absolute ceiling: an answer of zeros,
// every element wrong by all of itself, x = 1 of the shrink of O, must be seen wherever the default Arithmetic sees it.
// A ceiling below 1 would be a tolerance picked by hand; the power that is left is measured and stated instead.
//
// A scale that is off changes every key, so the search moves along d O / d ln(scale), and only what it finds is
// computed exactly, and widened until the exact answer is rejected.

#include "reference/judge/power.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include "reference/judge/compare.h"
#include "reference/judge/verify.h"
#include "reference/judge/yardstick.h"
#include "reference/oracle/parallel.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// What one Case may cost. The bias check wants 200 rows.
constexpr std::int64_t kRowsMax = 256, kWorkMax = std::int64_t{1} << 24;  // multiply-adds of one pass over the rows
constexpr double kLargestShift = 16;                                      // of lse; other effects are shares, at most 1
constexpr double kLeastEffect = 0x1p-60;
constexpr double kPrecision = 1.25;   // x is known to this factor
constexpr double kLossFactorMax = 4;  // candidates.md

double largest_of(Effect effect) { return effect == Effect::kLse ? kLargestShift : 1; }

// The noise figure is left out: an effect must show as an error, not as more of the noise that is there anyway.
bool counts(const std::string& check) { return check.rfind("noise figure", 0) != 0; }

std::string rounded(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2g", value);
  return text.data();
}

double bound_used(const Evidence& evidence) {
  double used = evidence.by_value.bound_used;
  for (const TensorEvidence& tensor : evidence.tensors) used = std::max(used, tensor.bound_used);
  return used;
}

struct Judgement {
  std::string check;  // the first that rejects; "" for none
  double used;
};

}  // namespace

std::int64_t most_visible_keys(const Reference& reference) {
  std::int64_t most = 0;
  for (const RowScalars& row : reference.want.statistics.rows) most = std::max(most, row.visible_count);
  return most;
}

struct PowerMeter::Alterations {
  explicit Alterations(const Reference& reference) : rows(reference, kRowsMax, kWorkMax) {
    key = middle_key(rows.visibility(), rows.problem().seqlen_kv);
    keys_max = most_visible_keys(reference);
  }

  // Rows of the Case's class. A short row among long ones is sharp whatever is declared, and says nothing of them.
  bool is_of_class(std::int64_t at) const {
    const auto keys = static_cast<std::int64_t>(rows.keys(at).size());
    return keys > 0 && length_class(keys) == length_class(keys_max);
  }

  Got with_effect(Effect effect, double x) const {
    return rows.answered([&](std::int64_t at) -> std::optional<RowAnswer> {
      if (!is_of_class(at)) return std::nullopt;
      RowAnswer row = rows.answer(at);
      switch (effect) {
        case Effect::kShrink:
          for (double& value : row.out) value *= 1 - x;
          return row;
        case Effect::kLse: row.lse += x; return row;
        case Effect::kKeyWeight: {
          const auto keys = rows.keys(at);
          if (!std::binary_search(keys.begin(), keys.end(), key)) return std::nullopt;
          return rows.reweighed(at, std::array{KeyChange{key, 1 - x}});
        }
        case Effect::kScale: {
          const RowAnswer& direction = directions[static_cast<std::size_t>(at)];
          for (std::size_t c = 0; c < row.out.size(); ++c) row.out[c] += x * direction.out[c];
          row.lse += x * direction.lse;
          return row;
        }
      }
      assert_that(false, "an Effect is one of its four values");
      return row;
    });
  }

  Got with_scale_off(double x) const {
    return rows.answered([&](std::int64_t at) -> std::optional<RowAnswer> {
      if (!is_of_class(at)) return std::nullopt;
      return rows.recomputed(at, rows.keys(at), rows.scores_rescaled(at, 1 + x), rows.kv_head_of(at));
    });
  }

  AlteredRows rows;
  std::int64_t key, keys_max = 0;
  std::array<FaultyAnswer, kFloorFaults.size()> faults;
  std::vector<RowAnswer> directions;
};

PowerMeter::PowerMeter(const Reference& reference, std::int64_t tensors_in_run, int threads)
    : tensors_in_run_(tensors_in_run), threads_(threads) {
  auto made = std::make_unique<Alterations>(reference);
  made->directions.resize(static_cast<std::size_t>(made->rows.size()));
  parallel_for(made->rows.size(), threads,
               [&](std::int64_t at) { made->directions[at] = made->rows.scale_direction(at); });
  parallel_for(static_cast<std::int64_t>(kFloorFaults.size()), threads,
               [&](std::int64_t fault) { made->faults[fault] = with_fault(made->rows, kFloorFaults[fault]); });
  alterations_ = std::move(made);
}

PowerMeter::~PowerMeter() = default;

std::int64_t PowerMeter::keys_max() const { return alterations_->keys_max; }

namespace {

// One declaration's judge of altered answers.
class Judge {
 public:
  Judge(const Reference& reference, const Arithmetic& arithmetic, bool has_lse, std::int64_t tensors_in_run)
      : reference_(reference), limits_(limits_of(reference, arithmetic, tensors_in_run)), has_lse_(has_lse) {}

  Judgement judge(Got got) const {
    got.has_lse = has_lse_;
    const Evidence evidence = compare("", reference_, limits_, got);
    for (const std::string& check : failing_checks(evidence)) {
      if (counts(check)) return {check, bound_used(evidence)};
    }
    return {"", bound_used(evidence)};
  }
  bool rejects(const Got& got) const { return !judge(got).check.empty(); }

  // The least x, to a factor kPrecision, at which `altered` is rejected; it is itself rejected.
  template <class Altered>
  double least_rejected(double largest, const Altered& altered) const {
    const Judgement at_largest = judge(altered(largest));
    if (at_largest.check.empty()) return Power::kNotSeen;
    const auto is_rejected = [&](double x) { return rejects(altered(x)); };
    // Errors grow about linearly: the border lies near largest / used, if it is a bound that rejects.
    const double guess = std::clamp(largest / at_largest.used * std::sqrt(kPrecision), kLeastEffect, largest);
    double high = largest, low = guess;
    if (guess == largest || is_rejected(guess)) {
      high = guess;
      low = std::max(high / kPrecision, kLeastEffect);
      for (double step = kPrecision; kLeastEffect < low && is_rejected(low); step *= step) {
        high = low;
        low = std::max(high / step, kLeastEffect);
      }
    }
    while (kPrecision * low < high) {
      const double middle = std::sqrt(low * high);
      (is_rejected(middle) ? high : low) = middle;
    }
    return high;
  }

 private:
  const Reference& reference_;
  Limits limits_;
  bool has_lse_;
};

FaultSight sight_of(const Judge& judge, const FaultyAnswer& answer) {
  if (!answer.applies) return {Sight::kNotApplicable, answer.why_unchanged};
  if (!answer.why_unchanged.empty()) return {Sight::kUnseen, answer.why_unchanged};
  const Judgement here = judge.judge(answer.got);
  if (!here.check.empty()) return {Sight::kSeen, here.check, here.used};
  return {Sight::kUnseen, "bound used " + rounded(here.used), here.used};
}

}  // namespace

Power PowerMeter::measure(const Arithmetic& declared, bool has_lse) const {
  const Alterations& all = *alterations_;
  const Arithmetic arithmetic = resolve(declared, all.rows.problem().dtype);
  const Judge judge(all.rows.reference(), arithmetic, has_lse, tensors_in_run_);
  Power power;
  // A judge that rejects the exact answer itself measures nothing.
  if (judge.rejects(all.rows.exact())) return power;
  const auto effect_at = [&](std::size_t index) {
    const Effect effect = kEffects[index];
    if (effect == Effect::kLse && !has_lse) return;
    double x = judge.least_rejected(largest_of(effect), [&](double size) { return all.with_effect(effect, size); });
    if (effect == Effect::kScale) {
      while (x <= 1 && !judge.rejects(all.with_scale_off(x))) x *= kPrecision;
      if (!(x <= 1)) x = judge.rejects(all.with_scale_off(1)) ? 1 : Power::kNotSeen;
    }
    power.effects[index] = x;
  };
  parallel_for(static_cast<std::int64_t>(kEffects.size() + kFloorFaults.size()), threads_, [&](std::int64_t task) {
    const auto index = static_cast<std::size_t>(task);
    if (index < kEffects.size()) return effect_at(index);
    power.faults[index - kEffects.size()] = sight_of(judge, all.faults[index - kEffects.size()]);
  });
  return power;
}

void pool(Power& into, const Power& other) {
  for (std::size_t i = 0; i < into.effects.size(); ++i) {
    into.effects[i] = std::min(into.effects[i], other.effects[i]);
  }
  for (std::size_t i = 0; i < into.faults.size(); ++i) {
    FaultSight& mine = into.faults[i];
    const FaultSight& theirs = other.faults[i];
    const bool is_closer =
        mine.sight == Sight::kUnseen && theirs.sight == Sight::kUnseen && mine.bound_used < theirs.bound_used;
    if (mine.sight < theirs.sight || mine.why.empty() || is_closer) mine = theirs;
  }
}

namespace {

bool keeps(double declared, double yardstick) {
  return declared <= kLossFactorMax * yardstick;  // +inf <= +inf: what the yardstick cannot see is no loss
}

bool keeps(const FaultSight& declared, const FaultSight& yardstick) {
  return yardstick.sight != Sight::kSeen || declared.sight == Sight::kSeen;
}

// A declaration with one field put back to the yardstick's, and the power of that.
struct MendedPower {
  std::string field;
  Power power;
};

// The fields that restore what was lost, one at a time; all of them where none does alone.
template <class Restores>
std::string guilty_fields(const std::vector<MendedPower>& mended, const Restores& restores) {
  std::string guilty, all;
  for (const MendedPower& one : mended) {
    all += (all.empty() ? "" : " and ") + one.field;
    if (restores(one.power)) guilty += (guilty.empty() ? "" : " or ") + one.field;
  }
  return guilty.empty() ? all : guilty;
}

}  // namespace

std::vector<PowerLoss> PowerMeter::lost(const Power& power, const Arithmetic& declared, bool has_lse) const {
  const Dtype storage = alterations_->rows.problem().dtype;
  const std::vector<MendedField> beyond = fields_beyond_yardstick(declared, storage, keys_max());
  std::vector<PowerLoss> losses;
  if (beyond.empty()) return losses;
  const Power whole = measure(yardstick(declared, storage, keys_max()), has_lse);
  std::vector<MendedPower> mended;
  const auto guilty = [&](const auto& restores) {
    if (mended.empty()) {
      for (const MendedField& field : beyond) {
        mended.push_back({field.name, beyond.size() > 1 ? measure(field.arithmetic, has_lse) : whole});
      }
    }
    return guilty_fields(mended, restores);
  };
  for (std::size_t i = 0; i < kFloorFaults.size(); ++i) {
    const auto is_kept = [&](const Power& here) { return keeps(here.faults[i], whole.faults[i]); };
    if (!is_kept(power)) losses.push_back({to_string(kFloorFaults[i]), true, 0, 0, guilty(is_kept)});
  }
  for (std::size_t i = 0; i < kEffects.size(); ++i) {
    const auto is_kept = [&](const Power& here) { return keeps(here.effects[i], whole.effects[i]); };
    if (is_kept(power)) continue;
    losses.push_back({to_string(kEffects[i]), false, power.effects[i], whole.effects[i], guilty(is_kept)});
  }
  return losses;
}

bool is_measurable(const Problem& problem) {
  constexpr std::int64_t kElementsMax = std::int64_t{1} << 25;
  return element_count(problem.shape_k()) + element_count(problem.shape_v()) + element_count(problem.shape_out()) <=
         kElementsMax;
}

namespace {

// Check 2 lets all of `zeros` pass: whether all checks do, and would not by default.
bool hides_zeros(const Reference& reference, const Arithmetic& declared, bool has_lse, std::int64_t tensors_in_run,
                 const ZeroControl& zeros) {
  if (zeros.judged == 0 || zeros.inside < zeros.judged) return false;
  const Dtype storage = reference.c.problem.dtype;
  const Arithmetic by_default = resolve({}, storage), by_declaration = resolve(declared, storage);
  if (by_declaration == by_default) return false;
  if (!is_measurable(reference.c.problem)) {
    const ZeroControl control = zero_control(reference, by_default);
    return control.inside < control.judged;
  }
  const AlteredRows rows(reference, kRowsMax, kWorkMax);
  const Got answer = rows.answered([&](std::int64_t at) {
    RowAnswer row = rows.answer(at);
    std::fill(row.out.begin(), row.out.end(), 0.0);
    return std::optional(row);
  });
  return Judge(rows.reference(), by_default, has_lse, tensors_in_run).rejects(answer) &&
         !Judge(rows.reference(), by_declaration, has_lse, tensors_in_run).rejects(answer);
}

std::string looser_fields(const Arithmetic& declared, Dtype storage) {
  std::string all;
  for (const std::string& field : looser_than_default(declared, storage)) all += (all.empty() ? "" : " and ") + field;
  return all;
}

// The losses against the yardstick.
std::vector<std::string> hidden_beyond_yardstick(const Reference& reference, const Arithmetic& declared, bool has_lse,
                                                 std::int64_t tensors_in_run) {
  const Problem& problem = reference.c.problem;
  const std::vector<MendedField> beyond =
      fields_beyond_yardstick(declared, problem.dtype, most_visible_keys(reference));
  if (beyond.empty()) return {};
  if (!is_measurable(problem)) {
    return {"this Case is too large to measure what its declared " + beyond.front().name + " hides"};
  }
  const PowerMeter meter(reference, tensors_in_run, 1);
  std::vector<std::string> hidden;
  for (const PowerLoss& loss : meter.lost(meter.measure(declared, has_lse), declared, has_lse)) {
    hidden.push_back(to_string(loss));
  }
  return hidden;
}

}  // namespace

std::vector<std::string> hidden_by_declaration(const Reference& reference, const Arithmetic& declared, bool has_lse,
                                               std::int64_t tensors_in_run, const ZeroControl& zeros) {
  std::vector<std::string> hidden = hidden_beyond_yardstick(reference, declared, has_lse, tensors_in_run);
  if (hides_zeros(reference, declared, has_lse, tensors_in_run, zeros)) {
    hidden.push_back("an answer of zeros would not be seen, for its declared " +
                     looser_fields(declared, reference.c.problem.dtype));
  }
  return hidden;
}

std::string to_string(const PowerLoss& loss) {
  if (loss.is_fault) return loss.what + " would not be seen, for its declared " + loss.field;
  const std::string seen = std::isfinite(loss.declared) ? "only from " + rounded(loss.declared) + " on" : "not at all";
  return loss.what + " would be seen " + seen + " instead of from " + rounded(loss.yardstick) +
         " on, for its declared " + loss.field;
}

const char* to_string(Effect effect) {
  static constexpr std::array kNames{"scale", "shrink of O", "lse shift", "key weight"};
  return kNames.at(static_cast<std::size_t>(effect));
}

const char* to_string(Sight sight) {
  static constexpr std::array kNames{"not applicable", "unseen", "seen"};
  return kNames.at(static_cast<std::size_t>(sight));
}

int length_class(std::int64_t keys_max) {
  int index = 0;
  for (const std::int64_t most : {16, 128, 1024, 8192}) index += most < keys_max;
  return index;
}

const char* length_class_name(int length_class) {
  static constexpr std::array kNames{"1-16", "17-128", "129-1,024", "1,025-8,192", "8,193-"};
  return kNames.at(static_cast<std::size_t>(length_class));
}

}  // namespace ringproof

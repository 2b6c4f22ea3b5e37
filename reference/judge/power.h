#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "reference/judge/floor_faults.h"
#include "reference/judge/zero_control.h"
#include "reference/spec/arithmetic.h"

namespace ringproof {

/// What may be off by x in an otherwise exact answer, in the rows of the Case's length class alone: its longest.
enum class Effect {
  kScale,      ///< the scale is (1 + x) times what it should be
  kShrink,     ///< O is (1 - x) times what it should be
  kLse,        ///< lse is x too large
  kKeyWeight,  ///< one key, in the middle, weighs (1 - x) times what it should
};

inline constexpr std::array kEffects{Effect::kScale, Effect::kShrink, Effect::kLse, Effect::kKeyWeight};

/// "scale", "shrink of O", "lse shift", "key weight".
const char* to_string(Effect effect);

/// Whether a floor fault would have been rejected.
enum class Sight { kNotApplicable, kUnseen, kSeen };

/// "not applicable", "unseen", "seen".
const char* to_string(Sight sight);

struct FaultSight {
  Sight sight = Sight::kNotApplicable;
  std::string why;  ///< why not applicable ("one kv head"), why not seen ("bound used 0.3"), or the check that saw
  double bound_used = 0;  ///< at the worst element
};

/// What a judgement would have seen: the least x that the bounds, the probabilistic bound or the bias check reject, per
/// effect (+inf: not even the largest asked, 1, and 16 for lse), and the floor faults.
struct Power {
  std::array<double, kEffects.size()> effects;
  std::array<FaultSight, kFloorFaults.size()> faults;
  Power() { effects.fill(kNotSeen); }

  static constexpr double kNotSeen = std::numeric_limits<double>::infinity();
};

/// The power of two judgements together: the lesser effect, the better sight.
void pool(Power& into, const Power& other);

/// Something a declaration hides that its yardstick would show.
struct PowerLoss {
  std::string what;            ///< "last key dropped", "lse shift"
  bool is_fault;               ///< a floor fault; else an effect
  double declared, yardstick;  ///< of an effect: the least x seen
  std::string field;  ///< the declared field that hides it: "exp 0.05"; all that could, where no one alone does
};

/// One loss in words: "lse shift would be seen only from 0.24 on instead of from 0.0006 on, for its declared exp 0.05".
std::string to_string(const PowerLoss& loss);

/// Classes of rows by their most visible keys: 1-16, -128, -1,024, -8,192, more.
inline constexpr int kLengthClasses = 5;
int length_class(std::int64_t keys_max);
/// "1-16", "17-128", "129-1,024", "1,025-8,192", "8,193-".
const char* length_class_name(int length_class);

/// True where a Case is small enough to be measured: its rows are altered in copies of its tensors.
bool is_measurable(const Problem& problem);

/// What a declaration hides on this Case, in words (PowerMeter::lost); nothing for one within its yardstick. Where the
/// Case is too large to measure, a declaration beyond its yardstick hides what nobody knows, and that is said. And
/// whatever the yardstick: no declaration may let O be all zeros where the default Arithmetic would not. `zeros` is
/// what such an answer passes of check 2 under `declared` (Evidence::zeros).
std::vector<std::string> hidden_by_declaration(const Reference& reference, const Arithmetic& declared, bool has_lse,
                                               std::int64_t tensors_in_run, const ZeroControl& zeros);

/// The power of one candidate in one length class: of `count_cases` Cases that stand for it.
struct ClassPower {
  std::string candidate;
  Dtype dtype = Dtype::kDefault;
  MaskKind mask = MaskKind::kFull;
  int length_class = 0;
  std::int64_t count_cases = 0;
  Power power;
};

/// The most keys a row of the Case sees: it says the Case's length class.
std::int64_t most_visible_keys(const Reference& reference);

/// Measures what the judge would have seen on one Case. No candidate is called: the exact answer of some of its rows,
/// altered and rounded, stands in for a candidate's.
class PowerMeter {
 public:
  /// `reference` must outlive it. `tensors_in_run` is that of the run whose power it is (tensors_of_run): what a
  /// judgement of that run would reject.
  PowerMeter(const Reference& reference, std::int64_t tensors_in_run, int threads);
  ~PowerMeter();

  /// The power under a declaration; without `has_lse` lse is not judged.
  Power measure(const Arithmetic& declared, bool has_lse) const;

  /// What the declaration hides (candidates.md): effects that are first seen at more than 4 times what its yardstick
  /// sees, and floor faults that only the yardstick sees. Nothing for a declaration within its yardstick. Any loss
  /// makes the Case inconclusive. `power` is measure() of the same.
  std::vector<PowerLoss> lost(const Power& power, const Arithmetic& declared, bool has_lse) const;

  /// The most keys a row of this Case sees.
  std::int64_t keys_max() const;

 private:
  struct Alterations;

  std::unique_ptr<const Alterations> alterations_;
  std::int64_t tensors_in_run_;
  int threads_;
};

}  // namespace ringproof

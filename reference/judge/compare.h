#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "reference/judge/bias.h"
#include "reference/judge/bound_forward.h"
#include "reference/judge/limits.h"
#include "reference/judge/noise.h"
#include "reference/judge/run.h"
#include "reference/judge/zero_control.h"

namespace ringproof {

/// Facts about one tensor: nothing here decides.
struct TensorEvidence {
  std::string name;                   ///< "out", "lse"
  std::int64_t count = 0;             ///< elements compared
  std::int64_t count_outside = 0;     ///< elements whose error is not <= bound
  std::int64_t count_not_judged = 0;  ///< elements whose bound promises nothing
  /// Elements the contract or the candidate's description says nothing of: empty rows, rows that see infinity, rows
  /// beside a NaN it need not bear. Not in count.
  std::int64_t count_undefined = 0;
  /// The worst element: the largest error / bound; the first in order among equals. Meaningless while count
  /// is 0.
  std::array<std::int64_t, 4> worst_index{};  ///< batch, head, row, column
  double want = 0, got = 0, error = 0, bound = 0;
  double bound_used = 0;  ///< error / bound at the worst element; +inf for a NaN or an error where none is allowed
};

/// What one candidate showed on one Case.
struct Evidence {
  std::string candidate, case_line;
  Dtype dtype;
  MaskKind mask;
  std::int64_t head_dim_max;
  CallStatus status;
  std::string reason;                         ///< why it was not judged
  std::vector<std::string> structure_faults;  ///< check 1: writes outside, elements unwritten, inputs modified
  std::vector<TensorEvidence> tensors;        ///< check 2: error against derived bound
  /// Check 2, rows that see one key, and every row of the recipe exact: out must equal v by value (-0 = 0).
  TensorEvidence by_value;
  double candidate_ms, reference_ms;
  std::vector<std::string> determinism_faults{};  ///< check 6: claimed, and not held; one sentence each
  std::vector<std::string> traffic_faults{};      ///< what a rank did against its formula; one sentence each
  std::vector<RankReport> ranks{};                ///< what each rank did, where the candidate tells
  std::vector<std::string> property_faults{};     ///< check 7: one sentence for each property that does not hold
  std::int64_t count_properties = 0;              ///< properties that were asked of this Case and held
  std::int64_t count_properties_left_out = 0;     ///< asked, and nothing to compare, or outside its declaration
  std::int64_t count_properties_refused = 0;      ///< asked, and a call refused that the description covers
  std::vector<std::string> left_open{};           ///< what could not be asked or measured: it cannot be accepted
  std::vector<std::string> hidden{};              ///< what its declaration hides (power.h): it cannot be accepted by it
  std::vector<std::string> warnings{};            ///< what a reader should know; never changes an outcome
  RowsJudged rows{};                              ///< how many of the Case's rows all this speaks of
  /// Check 3: out and lse again, against the probabilistic bound; rejects only where `is_independent`.
  std::vector<TensorEvidence> probabilistic{};
  bool is_independent = false;  ///< the Case's roundings are independent draws (independent.h)
  NoiseEvidence noise{};        ///< check 4
  BiasEvidence bias{};          ///< check 5
  bool lse_withheld = false;    ///< it writes lse, and this call gave it none to write
  ZeroControl zeros{};          ///< what an all-zero kernel would pass of check 2 on out
  std::string attribution{};    ///< where the residual concentrates, a phrase; "" if nowhere
  std::string data{};           ///< whose draws its inputs are (data_of)
};

/// The dtype, recipe and seed of a Case. Every element of an input is a function of them and of its index: Cases alike
/// in this share draws, and with them roundings, whatever their shapes, masks, memories and topologies.
std::string data_of(const Case& c);

/// Tensors that a run of one candidate over so many Cases judges: a call returns two, and one that repeats an earlier
/// call draws nothing anew. The probability of a false alarm is shared among them.
constexpr std::int64_t tensors_of_run(std::int64_t cases) { return 2 * (cases < 1 ? 1 : cases); }

/// Holds what came back against the reference, element by element, under the bound of the declared
/// `arithmetic` (resolved). Pure: the same arguments give the same facts. `tensors_in_run` counts the tensors of the
/// whole run this comparison is part of (tensors_of_run): the more, the wider the probabilistic bound.
Evidence compare(const std::string& candidate, const Reference& reference, const Arithmetic& arithmetic, const Got& got,
                 std::int64_t tensors_in_run = tensors_of_run(1));

/// The same against `limits`, limits_of this reference.
Evidence compare(const std::string& candidate, const Reference& reference, const Limits& limits, const Got& got);

/// One element into the facts. `want` + `tail` is the exact answer as the oracle has it. Infinity of the
/// right sign is right where abs(want) + bound reaches what rounds to infinity in `format`; equality comes
/// before subtraction, so that -inf against -inf is no error; an error that is NaN is outside by form.
void judge_element(TensorEvidence& facts, Dtype format, const std::array<std::int64_t, 4>& index, double want,
                   double tail, double got, double bound);

/// One element whose answer is NaN by contract into the facts; `infinity_too`: +inf is right as well. No error is
/// measured: what is right has used nothing of a bound, what is wrong all of it.
void judge_nan(TensorEvidence& facts, const std::array<std::int64_t, 4>& index, double got, bool infinity_too);

/// True where a declared Arithmetic promises that a row with one key, whose other keys weigh at most `slack` together
/// (relative to that key's value), returns that key's v by
/// value in 16-bit storage.
bool returns_single_key_by_value(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row,
                                 double slack);

}  // namespace ringproof

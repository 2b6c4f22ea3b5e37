#pragma once

#include <functional>
#include <vector>

#include "ci/power_matrix.h"
#include "reference/spec/case.h"

namespace ringproof {

/// Whom a power run judges: mutants with the specimens they need; with no names given every mutant and every correct
/// kernel. Throws InputError naming an unknown mutant.
struct PowerSubjects {
  std::vector<Mutant> mutants;
  std::vector<Candidate> correct, loosely_declared;  ///< every specimen of `mutants` is among `correct`
};
PowerSubjects choose_subjects(const std::vector<std::string>& mutants);

/// Runs them all in this process, Cases outermost, with each candidate's memory kept between its calls. One Case in
/// six is called a second time, after the next one. Properties are asked on short Cases (up to kShortWork).
/// Unless `is_complete`, what can change no outcome is left out: a mutant that was rejected before is not asked the
/// big Cases (beyond kBigWork), which stand last, and properties only of mutants that no Case rejects otherwise, at
/// the end. Correct kernels are asked everything. A Case that cannot be prepared leaves all who cover it inconclusive.
/// `may_go_on` is asked before each Case, with the count of those done and the Case's line.
PowerMatrix measure_power(const PowerSubjects& subjects, const std::vector<Case>& cases, int threads, bool is_complete,
                          const std::function<bool(std::int64_t, const std::string&)>& may_go_on);

/// Multiply-adds of the two products beyond which a Case counts as big, and up to which as short.
inline constexpr std::int64_t kBigWork = std::int64_t{1} << 23, kShortWork = std::int64_t{1} << 20;

}  // namespace ringproof

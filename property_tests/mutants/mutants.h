#pragma once

#include <string>
#include <vector>

#include "reference/spec/candidate.h"

namespace ringproof {

/// A candidate that must not be accepted: one edit of a specimen, which is accepted on the same Case.
struct Mutant {
  std::string name;      ///< of its file, `rescale_of_o_missing`
  std::string imitates;  ///< the public bug or the kind of fault it stands for
  std::string source;    ///< the edited file
  bool ends_in_error;    ///< detected as a failed call (inconclusive) instead of by its numbers (rejected)
  Candidate specimen, candidate;
  Candidate simulated{};  ///< of attention over ranks: the candidate with its ranks simulated; without a name else
};

/// A fault that no check can see on the fast Cases, in principle: unseen.txt.
struct UnseenFault {
  std::string fault, reason;
  std::string floor;  ///< where it is seen: the least size, the Cases, the claim it takes
};

/// Every fault of unseen.txt, in that order.
std::vector<UnseenFault> unseen_faults();

/// The correct candidate that is edited most: `specimen_flash`, fp32 fp16 bf16, with the default Arithmetic.
Candidate specimen_flash();

/// Every mutant of list.txt, in that order.
std::vector<Mutant> mutants();

}  // namespace ringproof

#pragma once

#include <span>
#include <string>
#include <vector>

#include "ci/gate.h"
#include "ci/gate_table.h"
#include "ci/machine.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// The candidates a run of the gate is to judge, in the order they were named, built-in ones and kernels from outside,
/// whose processes start here, as many as `cases` need where a launcher starts them; `notes` gets what these say beside
/// their verdicts. Throws InputError where one does not serve.
std::vector<Candidate> candidates_of_gate(const GateOptions& options, std::span<const Case> cases,
                                          const Machine& machine, std::vector<NotRun>& notes);

}  // namespace ringproof

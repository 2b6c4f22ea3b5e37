#pragma once

#include <span>
#include <string>
#include <vector>

#include "candidates/rank_job.h"
#include "ci/gate.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// Whether a launcher is to start kernels from outside, a worker on each rank. Throws InputError where what was asked
/// does not go together.
bool spans_workers(const GateOptions& options);

/// The launcher of the options and where it lies. Throws InputError where it is not here.
RankLauncher rank_launcher(const GateOptions& options);

/// Ranks of the job that describes a candidate: those asked for, else the most of any Case.
int ranks_of_first_job(const GateOptions& options, std::span<const Case> cases);

/// The Cases as ranks are asked them. With --ranks those of a tier are rewritten to that many, in the schedules that a
/// candidate declares, by turns. Cases of equal rank count lie together, unless in order: another count is another job.
/// Throws InputError for a Case or topology the user gave that has another count than --ranks.
std::vector<Case> cases_over_ranks(const GateOptions& options, std::vector<Case> cases,
                                   std::span<const Candidate> candidates);

/// `ringproof rank COMMAND...`: serve_rank() at the place that the launcher's variables name. `command` ends with null.
int serve_launched_rank(char** command);

/// Where a program lies on the path; "" where it does not.
std::string program_on_path(const std::string& program);

}  // namespace ringproof

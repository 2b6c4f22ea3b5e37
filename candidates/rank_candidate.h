#pragma once

#include <string>

#include "candidates/rank_job.h"
#include "candidates/worker_candidate.h"

namespace ringproof {

/// The candidate `name` as one job of processes, a worker on each rank: a Case of P ranks is asked of P workers at
/// once, each with its shard, and their shards are its answer. The job is started anew, with another count of ranks or
/// after a rank has failed; `ranks` is how many the first one has. A rank that crashes, hangs beyond the time limit of
/// a call, which all ranks share, or returns an error ends the call with an Error that names ranks and reasons.
/// Throws InputError where the kernel does not serve or declares no schedule of several ranks; Error where a rank ends
/// while it describes itself.
DescribedWorker rank_candidate(const std::string& name, const WorkerSetting& setting, const RankLauncher& launcher,
                               int ranks);

}  // namespace ringproof

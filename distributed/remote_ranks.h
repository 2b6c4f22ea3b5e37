#pragma once

#include <vector>

#include "distributed/process_job.h"
#include "distributed/ring_candidate.h"

namespace ringproof {

/// The composition as a Candidate whose ranks are the processes of a job: the rank of process 0 is its own, the
/// others' calls travel to their processes, which serve_ranks() runs there, and their outputs travel back. A topology
/// of fewer ranks uses the first processes; more are an InputError. Several ranks at a time are called, as on
/// threads; what a remote rank computes on is dense, whatever the strides here. After a failure every further call
/// throws.
///
/// Used by process 0, in its job.run_beside(), so that processes which wait for their next call know that it lives.
/// `job` outlives the Candidate.
Candidate remote_candidate(const ProcessJob& job, const RingComposition& composition);

/// What every other process of the job does: runs the ranks of these compositions, by name, until process 0 calls
/// end_service(). Throws Error where the job fails.
void serve_ranks(const ProcessJob& job, const std::vector<RingComposition>& compositions);

/// Ends serve_ranks() on all other processes, unless the job has failed.
void end_service(const ProcessJob& job);

}  // namespace ringproof

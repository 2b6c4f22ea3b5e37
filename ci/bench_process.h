#pragma once

#include <string>

#include "ci/bench_metrics.h"
#include "reference/judge/verify.h"

namespace ringproof {

struct TimedProcess {
  double seconds = 0;
  Outcome outcome = Outcome::kInconclusive;
  std::string reason;  ///< of what is not accepted
};

/// Runs a metric of PartOf::kProcess once: the race checker on the kernel and Case (the whole process is timed), or the
/// gate under mpirun (the candidate's call alone, as process 0 measured it, start-up left out).
TimedProcess run_timed_process(const Metric& metric);

}  // namespace ringproof

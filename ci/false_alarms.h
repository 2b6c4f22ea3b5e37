#pragma once

#include "ci/exit_codes.h"
#include "ci/power.h"

namespace ringproof {

/// Judges correct kernels over and over (count_false_alarms), PowerOptions::false_alarms times, each with inputs of its
/// own: whether a correct kernel is ever rejected or left undecided. Of `kernels` by name, else of all; a mutant that
/// is named stands among them as an alarm planted on purpose. Progress on stderr; alarms, and how near the limits of
/// the statistics came, on stdout; alarms.json (reports/alarms.schema.json) in `out`. Ctrl-C ends it after the Case at
/// work, with everything finished kept. Throws InputError before anything has begun.
///
/// kAccepted for no alarm, else kRejected; kInconclusive when it was interrupted before one.
ExitCode run_false_alarms(const PowerOptions& options);

}  // namespace ringproof

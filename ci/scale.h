#pragma once

namespace ringproof {

/// `ringproof scale`: a ring over many simulated ranks in a described network, judged, its times held to the overlap
/// formula. `arguments` begin with the sub-command's name. Returns an exit code of exit_codes.h; throws InputError.
int run_scale(int count, char** arguments);

}  // namespace ringproof

#pragma once

namespace ringproof {

/// Exit codes of every command.
enum class ExitCode : int {
  kAccepted = 0,
  kRejected = 1,
  kBadInput = 2,
  kInconclusive = 3,  ///< a crash, a time-out, a failed communication, nothing judged, interrupted
  kRefusals = 4,      ///< more Cases refused that the candidate had declared than allowed
};

}  // namespace ringproof

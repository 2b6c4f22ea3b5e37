#pragma once

#include <memory>
#include <string>
#include <vector>

#include "distributed/at_scale/network.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// How a ring is run in SimGrid's SMPI.
struct AtScale {
  Network network;
  double flops = 600e12;           ///< of a GPU, operations per second
  std::string program;             ///< the ranks' program, ringproof_at_scale
  double deadline_seconds = 3600;  ///< of this machine's clock
};

/// Why nothing can be run here ("no SimGrid: ..."); empty: it can.
std::string at_scale_not_here_reason(const AtScale& how);

/// `ring:double` whose ranks are simulated processes of MPI in that network. A call starts `smpirun`; it throws Error
/// where the job does not end well: a rank that throws, a job in which nobody can go on, the deadline. Into `times_s`,
/// where not null: the simulated times of the latest call, as hold_step_times() takes them.
Candidate at_scale_candidate(const AtScale& how, std::shared_ptr<std::vector<double>> times_s);

/// The options of the simulator that the formulas rest on, as smpirun takes them.
std::vector<std::string> simulator_options();

}  // namespace ringproof

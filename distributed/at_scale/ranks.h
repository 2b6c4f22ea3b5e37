#pragma once

#include <functional>

#include "distributed/ring_candidate.h"

namespace ringproof {

/// What is run on a rank of a simulated MPI job instead of the ring, for tests that must see it refused.
struct RankParts {
  RingParts ring{};
  /// Stands between the algorithm and the transport.
  std::function<std::unique_ptr<Communicator>(Communicator&)> wrap{};
};

/// One rank of `ring:double` in SimGrid's SMPI: the main() of its program, with arguments FOLDER CASE.
int run_simulated_rank(int argc, char** argv, const RankParts& parts);

}  // namespace ringproof

#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "distributed/communicator.h"
#include "reference/spec/error.h"

namespace ringproof {

/// Thrown by a transport in ranks that end because another one failed: never the cause.
struct GroupFailed : Error {
  using Error::Error;
};

/// "block 2 part 0 of step 3 (case 1, 8 bytes)".
std::string words(const TransferHeader& header, std::size_t bytes);

/// The same with the peer: "... to rank 1", "... from rank 1".
std::string words(const TransferHeader& header, std::size_t bytes, bool is_send, int peer);

/// "rank 1, step 3: ", what a failure begins with; "rank 1: " for a negative step.
std::string place(int rank, int step);

/// How a rank's body ended.
struct BodyEnd {
  bool is_consequence;  ///< by GroupFailed: another rank is the cause
  std::string failure;  ///< what else it threw, naming the rank; "" where it threw nothing else
};

/// Runs the body of one rank and catches whatever it throws.
BodyEnd run_body(Communicator& communicator, const std::function<void(Communicator&)>& body);

}  // namespace ringproof

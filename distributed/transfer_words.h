#pragma once

#include <cstddef>
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

}  // namespace ringproof

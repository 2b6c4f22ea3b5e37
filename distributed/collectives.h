#pragma once

#include <span>

#include "distributed/communicator.h"

namespace ringproof {

/// Collectives are written in point-to-point transfers, so that every transport has them, counts them and checks their
/// headers. The first two only add transfers to an Exchange, which the caller posts: waiting stays in his source.
/// In the headers given, `block` is set to the rank that sends. A rank's part for itself does not travel.

/// Every rank sends sends[p] to rank p and receives receives[p] from it: one span per rank, any lengths, empty ones
/// too; those of the own rank are not looked at.
void add_all_to_all(Exchange& exchange, const Communicator& communicator,
                    std::span<const std::span<const std::byte>> sends, std::span<const std::span<std::byte>> receives,
                    const TransferHeader& header);

/// Every rank sends `mine` to all others and receives receives[p] from rank p; the own one is not looked at.
void add_all_gather(Exchange& exchange, const Communicator& communicator, std::span<const std::byte> mine,
                    std::span<const std::span<std::byte>> receives, const TransferHeader& header);

/// Replaces values[i] by the sum of all ranks' values[i], added in the order of ranks, so that every rank gets the same
/// bits. Starts once `after` has happened; the Event is its end. Each rank sends values.size() (P - 1) doubles.
Event all_reduce_sum(Communicator& communicator, std::span<double> values, const TransferHeader& header,
                     std::span<const Event> after);

}  // namespace ringproof

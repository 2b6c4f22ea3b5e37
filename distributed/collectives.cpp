// Direct forms: P - 1 sends and P - 1 receives of one exchange. Rank r begins with the peer behind it, so that not all
// ranks turn to rank 0 first.

#include "distributed/collectives.h"

#include <memory>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {

void add_all_to_all(Exchange& exchange, const Communicator& communicator,
                    std::span<const std::span<const std::byte>> sends, std::span<const std::span<std::byte>> receives,
                    const TransferHeader& header) {
  const int rank = communicator.rank(), rank_count = communicator.rank_count();
  assert_that(sends.size() == static_cast<std::size_t>(rank_count) && receives.size() == sends.size(),
              "an all-to-all has one part per rank");
  for (int distance = 1; distance < rank_count; ++distance) {
    const int to = (rank + distance) % rank_count, from = (rank + rank_count - distance) % rank_count;
    TransferHeader mine = header, theirs = header;
    mine.block = rank;
    theirs.block = from;
    exchange.sends.push_back({to, sends[static_cast<std::size_t>(to)], mine});
    exchange.receives.push_back({from, receives[static_cast<std::size_t>(from)], theirs});
  }
}

void add_all_gather(Exchange& exchange, const Communicator& communicator, std::span<const std::byte> mine,
                    std::span<const std::span<std::byte>> receives, const TransferHeader& header) {
  const std::vector<std::span<const std::byte>> sends(static_cast<std::size_t>(communicator.rank_count()), mine);
  add_all_to_all(exchange, communicator, sends, receives, header);
}

Event all_reduce_sum(Communicator& communicator, std::span<double> values, const TransferHeader& header,
                     std::span<const Event> after) {
  const auto rank_count = static_cast<std::size_t>(communicator.rank_count());
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const std::size_t bytes = values.size_bytes();
  const std::shared_ptr<std::byte> gathered = communicator.allocate(bytes * rank_count);
  std::vector<std::span<std::byte>> receives;
  for (std::size_t peer = 0; peer < rank_count; ++peer) receives.emplace_back(gathered.get() + peer * bytes, bytes);
  Exchange exchange{{}, {}, "all-reduce exchange"};
  add_all_gather(exchange, communicator, std::as_bytes(values), receives, header);
  const Event arrived = communicator.exchange(exchange, after);
  const auto add = [values, gathered, rank, rank_count](void*) {
    const auto* const theirs = reinterpret_cast<const double*>(gathered.get());
    for (std::size_t i = 0; i < values.size(); ++i) {
      double sum = 0;
      for (std::size_t peer = 0; peer < rank_count; ++peer) {
        sum += peer == rank ? values[i] : theirs[peer * values.size() + i];
      }
      values[i] = sum;
    }
  };
  return communicator.compute({"all-reduce",
                               header.step,
                               {std::span<const std::byte>(gathered.get(), bytes * rank_count)},
                               {std::as_writable_bytes(values)},
                               add},
                              {&arrived, 1});
}

}  // namespace ringproof

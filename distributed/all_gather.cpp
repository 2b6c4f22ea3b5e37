// K and V are gathered into buffers with the sequence outermost: the block of a rank is one piece of memory there, from
// which it is sent and into which it is received, and nothing is copied but the own block. Then a ring of one rank
// that holds all keys computes the local rows.

#include "distributed/all_gather.h"

#include <array>
#include <vector>

#include "distributed/buffer.h"
#include "distributed/collectives.h"
#include "distributed/communicator_subgroup.h"

namespace ringproof {
namespace {

TensorView block_of(const TensorView& whole, const Topology& topology, int rank) {
  const TokenRun run = owned_tokens(topology, rank, whole.shape[2]).front();
  return rows_of(whole, run.begin, run.count());
}

void add_gather(Exchange& exchange, const Communicator& communicator, const Topology& topology, const TensorView& whole,
                const TransferHeader& header) {
  std::vector<std::span<std::byte>> receives;
  for (int rank = 0; rank < communicator.rank_count(); ++rank) {
    receives.push_back(writable_memory_of(block_of(whole, topology, rank)));
  }
  add_all_gather(exchange, communicator, receives[static_cast<std::size_t>(communicator.rank())], receives, header);
}

}  // namespace

void all_gather_forward(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                        const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                        const TensorView& v, const TensorView& out, const TensorView* lse) {
  const Buffer all_k = make_buffer_by_token(communicator, "all K", problem.dtype, problem.shape_k());
  const Buffer all_v = make_buffer_by_token(communicator, "all V", problem.dtype, problem.shape_v());
  const WithdrawAtExit withdraw_at_exit(communicator);

  const TensorView own_k = block_of(all_k.view, problem.topology, communicator.rank());
  const TensorView own_v = block_of(all_v.view, problem.topology, communicator.rank());
  const Event packed = communicator.compute({"pack",
                                             0,
                                             {memory_of(k), memory_of(v)},
                                             {memory_of(own_k), memory_of(own_v)},
                                             [=](void*) {
                                               copy_elements(k, own_k);
                                               copy_elements(v, own_v);
                                             }},
                                            {});
  Exchange exchange{{}, {}, "gather"};
  add_gather(exchange, communicator, problem.topology, all_k.view, {case_id, 0, 0, 0});
  add_gather(exchange, communicator, problem.topology, all_v.view, {case_id, 0, 0, 1});
  communicator.wait(communicator.exchange(exchange, {&packed, 1}));

  SubgroupCommunicator alone(communicator, {communicator.rank()});
  ring_forward(alone, local_step, parts, problem, case_id, q, all_k.view, all_v.view, out, lse);
}

}  // namespace ringproof

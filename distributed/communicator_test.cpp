// The contract suite on the transports of one process, and what only ranks that share a memory can say.

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "distributed/communicator_contract_test.h"
#include "distributed/communicator_faulty.h"
#include "distributed/communicator_recording.h"
#include "distributed/communicator_simulated.h"
#include "distributed/communicator_subgroup.h"
#include "distributed/communicator_threads.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

const std::vector<int> kRankCounts{1, 2, 3, 4, 5, 7, 8};

Launcher recording_over_threads(milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    std::atomic<std::int64_t> order = 0;
    run_on_threads(rank_count, deadline, [&](Communicator& inner) {
      RecordingCommunicator recording(inner, order);
      body(recording);
    });
  };
}

// All ranks but the last, which has nothing to do.
Launcher subgroup_of_threads(milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    run_on_threads(rank_count + 1, deadline, [&](Communicator& all) {
      if (all.rank() == rank_count) return;
      std::vector<int> members(static_cast<std::size_t>(rank_count));
      std::iota(members.begin(), members.end(), 0);
      SubgroupCommunicator some(all, members);
      body(some);
    });
  };
}

Launcher simulated(milliseconds deadline) {
  static std::uint64_t seed = 0;  // every test runs in an order of its own, the same at every start
  return simulated_launcher({++seed, deadline}, [](const Race& race) { ADD_FAILURE() << to_string(race); });
}

// Messages come late or in their place, and are compared.
Launcher on_faulty_wires(const Launcher& inner) {
  return faulty_launcher(inner, {FaultKind::kDelay, 0, 1}, true, std::make_shared<std::atomic<bool>>());
}
Launcher faulty_over_threads(milliseconds deadline) { return on_faulty_wires(threads_launcher(deadline)); }
Launcher faulty_over_simulated(milliseconds deadline) { return on_faulty_wires(simulated(deadline)); }

INSTANTIATE_TEST_SUITE_P(
    Transports, CommunicatorContract,
    testing::Values(ContractTransport{"threads", kRankCounts, threads_launcher},
                    ContractTransport{"recording_over_threads", kRankCounts, recording_over_threads},
                    ContractTransport{"subgroup_of_threads", kRankCounts, subgroup_of_threads},
                    ContractTransport{"simulated", kRankCounts, simulated},
                    ContractTransport{"faulty_over_threads", kRankCounts, faulty_over_threads, true},
                    ContractTransport{"faulty_over_simulated", kRankCounts, faulty_over_simulated, true}),
    name_of_transport);

std::string failure_of(const std::function<void(Communicator&)>& body) {
  try {
    run_on_threads(2, milliseconds(50), body);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void compute_until_it_ends(Communicator& communicator) {
  for (;;) {
    communicator.compute({"local step", 5, {}, {}, [](void*) { std::this_thread::sleep_for(milliseconds(1)); }}, {});
  }
}

// The other rank waits until this one computes, so that where it stands is no matter of luck.
void compute_until_it_ends(Communicator& communicator, std::atomic<bool>& computes) {
  communicator.compute({"local step", 5, {}, {}, [&](void*) { computes = true; }}, {});
  compute_until_it_ends(communicator);
}

void await(const std::atomic<bool>& computes) {
  while (!computes) std::this_thread::yield();
}

TEST(Threads, ADeadlineTellsWhereAllRanksStand) {
  std::atomic<bool> computes = false;
  const std::string of_wait = failure_of([&](Communicator& communicator) {
    std::vector<std::byte> bytes(8);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 0) compute_until_it_ends(communicator, computes);
    await(computes);
    communicator.wait(communicator.exchange({{}, {{0, bytes, {1, 6, 4, 1}}}}, {}));
  });
  EXPECT_EQ(of_wait,
            "rank 1, step 6: block 4 part 1 of step 6 (case 1, 8 bytes) from rank 0 did not happen within 50 ms; "
            "rank 0 computes local step of step 5; "
            "rank 1 waits for block 4 part 1 of step 6 (case 1, 8 bytes) from rank 0");
  computes = false;
  const std::string of_barrier = failure_of([&](Communicator& communicator) {
    if (communicator.rank() == 1) compute_until_it_ends(communicator, computes);
    await(computes);
    communicator.barrier();
  });
  EXPECT_EQ(of_barrier,
            "rank 0: not all ranks came to the barrier within 50 ms; rank 0 waits in a barrier; "
            "rank 1 computes local step of step 5");
}

TEST(Threads, EveryRankThatWaitsEndsWithAnErrorOfItsOwn) {
  std::atomic<int> ended_early = 0;
  EXPECT_THROW(run_on_threads(4, kDeadlineDefault,
                              [&](Communicator& communicator) {
                                if (communicator.rank() == 2) throw Error("gone");
                                try {
                                  communicator.barrier();
                                } catch (const Error&) {
                                  ++ended_early;
                                  throw;
                                }
                              }),
               Error);
  EXPECT_EQ(ended_early, 3);
}

}  // namespace
}  // namespace ringproof

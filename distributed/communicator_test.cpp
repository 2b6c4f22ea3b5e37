// The contract of Communicator, for every transport.

#include "distributed/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator_recording.h"
#include "distributed/communicator_threads.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Bytes = std::vector<std::byte>;

struct Transport {
  std::string name;
  std::function<Launcher(milliseconds deadline)> with_deadline;
};

Launcher recording_over_threads(milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    std::atomic<std::int64_t> order = 0;
    run_on_threads(rank_count, deadline, [&](Communicator& inner) {
      RecordingCommunicator recording(inner, order);
      body(recording);
    });
  };
}

class CommunicatorContract : public testing::TestWithParam<Transport> {
 protected:
  static void run(int rank_count, const std::function<void(Communicator&)>& body) {
    GetParam().with_deadline(kDeadlineDefault)(rank_count, body);
  }

  // What the launcher throws; empty when it throws nothing.
  static std::string failure_of(int rank_count, milliseconds deadline, const std::function<void(Communicator&)>& body) {
    try {
      GetParam().with_deadline(deadline)(rank_count, body);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorContract,
                         testing::Values(Transport{"threads", threads_launcher},
                                         Transport{"recording_over_threads", recording_over_threads}),
                         [](const auto& instance) { return instance.param.name; });

Bytes filled(std::size_t count, int value) { return Bytes(count, static_cast<std::byte>(value)); }

int next_of(const Communicator& communicator) { return (communicator.rank() + 1) % communicator.rank_count(); }
int previous_of(const Communicator& communicator) {
  return (communicator.rank() + communicator.rank_count() - 1) % communicator.rank_count();
}

TEST_P(CommunicatorContract, EveryRankRunsOnceAndKnowsItsPlace) {
  for (const int rank_count : {1, 2, 3, 8}) {
    std::array<std::atomic<int>, 8> times{};
    run(rank_count, [&](Communicator& communicator) {
      EXPECT_EQ(communicator.rank_count(), rank_count);
      ++times.at(static_cast<std::size_t>(communicator.rank()));
    });
    for (int rank = 0; rank < 8; ++rank) EXPECT_EQ(times.at(static_cast<std::size_t>(rank)), rank < rank_count ? 1 : 0);
  }
}

TEST_P(CommunicatorContract, BlocksOfUnequalAndZeroLengthTravelRound) {
  for (const int rank_count : {1, 2, 3, 4, 5, 7, 8}) {
    run(rank_count, [&](Communicator& communicator) {
      const int rank = communicator.rank(), previous = previous_of(communicator);
      const Bytes mine = filled(static_cast<std::size_t>(rank) * 1000, rank + 1);
      Bytes theirs = filled(static_cast<std::size_t>(previous) * 1000, 0);
      const Event arrived = communicator.exchange(
          {{{next_of(communicator), mine, {7, 1, rank, 0}}}, {{previous, theirs, {7, 1, previous, 0}}}}, {});
      communicator.wait(arrived);
      EXPECT_EQ(theirs, filled(static_cast<std::size_t>(previous) * 1000, previous + 1));
    });
  }
}

TEST_P(CommunicatorContract, ABlockPassedOnManyTimesComesBackUnchanged) {
  constexpr int kRanks = 5;
  run(kRanks, [&](Communicator& communicator) {
    std::array<Bytes, 2> buffers{filled(64, communicator.rank() + 1), filled(64, 0)};
    Event arrived;
    for (int step = 1; step <= kRanks; ++step) {
      const int held = (communicator.rank() - step + 1 + kRanks) % kRanks, arriving = (held + kRanks - 1) % kRanks;
      arrived = communicator.exchange(
          {{{next_of(communicator), buffers[static_cast<std::size_t>((step + 1) % 2)], {1, step, held, 0}}},
           {{previous_of(communicator), buffers[static_cast<std::size_t>(step % 2)], {1, step, arriving, 0}}}},
          {&arrived, 1});
    }
    communicator.wait(arrived);
    EXPECT_EQ(buffers[kRanks % 2], filled(64, communicator.rank() + 1));
  });
}

TEST_P(CommunicatorContract, TransfersBetweenTwoRanksMeetInTheOrderPosted) {
  run(2, [&](Communicator& communicator) {
    const int peer = 1 - communicator.rank();
    std::vector<Bytes> sent, received(10, filled(8, 0));
    for (int index = 0; index < 10; ++index) sent.push_back(filled(8, index));
    std::vector<Event> events;
    for (std::size_t index = 0; index < 10; ++index) {
      events.push_back(communicator.exchange({{{peer, sent[index], {}}}, {{peer, received[index], {}}}}, {}));
    }
    for (const Event& event : events) communicator.wait(event);
    EXPECT_EQ(received, sent);
  });
}

TEST_P(CommunicatorContract, SendsReadWhatWasComputedBeforeAndComputationsWhatArrived) {
  run(2, [&](Communicator& communicator) {
    const int peer = 1 - communicator.rank();
    Bytes mine = filled(32, 0), theirs = filled(32, 0), copy;
    const Event made = communicator.compute(
        {"fill", 0, {}, {mine}, [&](void*) { std::fill(mine.begin(), mine.end(), std::byte{9}); }}, {});
    const Event arrived = communicator.exchange({{{peer, mine, {}}}, {{peer, theirs, {}}}}, {&made, 1});
    communicator.wait(
        communicator.compute({"copy", 0, {theirs}, {copy}, [&](void*) { copy = theirs; }}, {&arrived, 1}));
    EXPECT_EQ(copy, filled(32, 9));
  });
}

TEST_P(CommunicatorContract, NobodyLeavesABarrierBeforeAllHaveCome) {
  constexpr int kRanks = 4, kRounds = 50;
  std::array<std::atomic<int>, kRounds> arrived{};
  run(kRanks, [&](Communicator& communicator) {
    for (std::size_t round = 0; round < kRounds; ++round) {
      ++arrived.at(round);
      communicator.barrier();
      EXPECT_EQ(arrived.at(round), kRanks);
    }
  });
}

TEST_P(CommunicatorContract, AnUnequalLengthIsAnErrorNamingRankStepAndPeer) {
  const std::string failure = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
    const int peer = 1 - communicator.rank();
    const Bytes mine = filled(communicator.rank() == 0 ? 16 : 24, 1);
    Bytes theirs = filled(16, 0);
    const Event arrived = communicator.exchange({{{peer, mine, {5, 3, 9, 0}}}, {{peer, theirs, {5, 3, 9, 0}}}}, {});
    communicator.wait(arrived);
  });
  EXPECT_EQ(failure,
            "rank 0, step 3: wanted block 9 part 0 of step 3 (case 5, 16 bytes) from rank 1, "
            "got block 9 part 0 of step 3 (case 5, 24 bytes)");
}

TEST_P(CommunicatorContract, AStaleOrMisroutedBlockIsAnErrorNamingBoth) {
  const TransferHeader want{5, 3, 9, 0};
  for (const TransferHeader& got : {TransferHeader{4, 3, 9, 0}, TransferHeader{5, 2, 9, 0}, TransferHeader{5, 3, 8, 0},
                                    TransferHeader{5, 3, 9, 1}, TransferHeader{5, 3, 9, 0, 77}}) {
    const std::string failure = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
      Bytes bytes = filled(8, communicator.rank());
      if (communicator.rank() == 0) {
        communicator.wait(communicator.exchange({{{1, bytes, got}}, {}}, {}));
      } else {
        communicator.wait(communicator.exchange({{}, {{0, bytes, want}}}, {}));
        ADD_FAILURE() << "the wrong block was taken";
      }
    });
    EXPECT_TRUE(failure.starts_with("rank 1, step 3: wanted block 9 part 0")) << failure;
  }
}

TEST_P(CommunicatorContract, APeerOutsideTheGroupIsAnError) {
  for (const int peer : {-1, 2}) {
    const std::string failure = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
      const Bytes mine = filled(8, 0);
      if (communicator.rank() == 1) communicator.exchange({{{peer, mine, {0, 4, 1, 0}}}, {}}, {});
    });
    EXPECT_TRUE(failure.starts_with("rank 1, step 4: ")) << failure;
    EXPECT_NE(failure.find("peer " + std::to_string(peer)), std::string::npos) << failure;
  }
}

TEST_P(CommunicatorContract, ARankThatThrowsEndsTheOthersAndIsNamed) {
  for (const int rank_bad : {0, 2}) {
    std::atomic<int> ended_early = 0;
    const std::string failure = failure_of(4, kDeadlineDefault, [&](Communicator& communicator) {
      if (communicator.rank() == rank_bad) throw std::runtime_error("the local step failed");
      const Bytes mine = filled(8, 0);
      Bytes theirs = filled(8, 0);
      const WithdrawAtExit withdraw_at_exit(communicator);
      try {
        for (;;) {
          communicator.wait(communicator.exchange(
              {{{next_of(communicator), mine, {}}}, {{previous_of(communicator), theirs, {}}}}, {}));
        }
      } catch (const Error&) {
        ++ended_early;
        throw;
      }
    });
    EXPECT_EQ(failure, "rank " + std::to_string(rank_bad) + ": the local step failed");
    EXPECT_EQ(ended_early, 3);
  }
}

TEST_P(CommunicatorContract, ARankThatThrowsEndsThoseInABarrierAndThoseThatOnlyCompute) {
  const std::string failure = failure_of(3, kDeadlineDefault, [&](Communicator& communicator) {
    if (communicator.rank() == 0) throw Error("gone");
    if (communicator.rank() == 1) communicator.barrier();
    for (;;) communicator.compute({"nothing", 0, {}, {}, [](void*) {}}, {});
  });
  EXPECT_EQ(failure, "rank 0: gone");
}

TEST_P(CommunicatorContract, AnExceptionOfAnyTypeNamesItsRank) {
  EXPECT_EQ(failure_of(2, kDeadlineDefault,
                       [](Communicator& c) {
                         if (c.rank() == 1) throw 42;
                       }),
            "rank 1: an exception of unknown type");
  EXPECT_EQ(failure_of(1, kDeadlineDefault, [](Communicator&) { throw std::runtime_error("alone"); }), "rank 0: alone");
}

TEST_P(CommunicatorContract, AWaitEndsAtItsDeadlineNamingRankStepPeerBlockAndWhereAllStand) {
  const std::string failure = failure_of(2, milliseconds(50), [&](Communicator& communicator) {
    Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 1) {
      communicator.wait(communicator.exchange({{}, {{0, bytes, {1, 6, 4, 1}}}}, {}));
    } else {
      try {
        for (;;) {
          communicator.compute({"local step", 5, {}, {}, [](void*) { std::this_thread::sleep_for(milliseconds(1)); }},
                               {});
        }
      } catch (const Error&) {
      }
    }
  });
  EXPECT_EQ(failure,
            "rank 1, step 6: block 4 part 1 of step 6 (case 1, 8 bytes) from rank 0 did not happen within 50 ms; "
            "rank 0 computes local step of step 5; "
            "rank 1 waits for block 4 part 1 of step 6 (case 1, 8 bytes) from rank 0");
}

TEST_P(CommunicatorContract, ASendThatNobodyTakesEndsAtItsDeadlineToo) {
  const std::string failure = failure_of(2, milliseconds(50), [&](Communicator& communicator) {
    const Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    communicator.wait(communicator.exchange({{{1 - communicator.rank(), bytes, {1, 6, 4, 1}}}, {}}, {}));
  });
  EXPECT_NE(failure.find("did not happen within 50 ms"), std::string::npos) << failure;
}

TEST_P(CommunicatorContract, ABarrierEndsAtItsDeadline) {
  const std::string failure = failure_of(2, milliseconds(50), [&](Communicator& communicator) {
    if (communicator.rank() == 0) return communicator.barrier();
    for (;;) {
      communicator.compute({"local step", 5, {}, {}, [](void*) { std::this_thread::sleep_for(milliseconds(1)); }}, {});
    }
  });
  EXPECT_EQ(failure,
            "rank 0: not all ranks came to the barrier within 50 ms; rank 0 waits in a barrier; "
            "rank 1 computes local step of step 5");
}

TEST_P(CommunicatorContract, WaitingForARankThatHasEndedFailsAtOnce) {
  const std::string of_transfer = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
    Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 1) communicator.wait(communicator.exchange({{}, {{0, bytes, {1, 6, 4, 0}}}}, {}));
  });
  EXPECT_EQ(of_transfer, "rank 1, step 6: block 4 part 0 of step 6 (case 1, 8 bytes) from rank 0: that rank has ended");
  const std::string of_barrier = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
    if (communicator.rank() == 1) communicator.barrier();
  });
  EXPECT_EQ(of_barrier, "rank 1: rank 0 has ended and cannot come to the barrier");
}

TEST_P(CommunicatorContract, LeavingWithTransfersUnderWayFailsTheGroup) {
  const std::string failure = failure_of(2, kDeadlineDefault, [&](Communicator& communicator) {
    const Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 0) communicator.exchange({{{1, bytes, {1, 2, 0, 0}}}, {}}, {});
  });
  EXPECT_EQ(failure, "rank 0, step 2: left before block 0 part 0 of step 2 (case 1, 8 bytes) to rank 1 had happened");
}

TEST_P(CommunicatorContract, ACommunicatorServesManyCalls) {
  run(3, [&](Communicator& communicator) {
    const Bytes mine = filled(16, communicator.rank());
    Bytes theirs = filled(16, 99);
    for (int call = 0; call < 1000; ++call) {
      const auto id = static_cast<std::uint64_t>(call);
      communicator.wait(communicator.exchange(
          {{{next_of(communicator), mine, {id}}}, {{previous_of(communicator), theirs, {id}}}}, {}));
    }
    EXPECT_EQ(theirs, filled(16, previous_of(communicator)));
  });
}

}  // namespace
}  // namespace ringproof

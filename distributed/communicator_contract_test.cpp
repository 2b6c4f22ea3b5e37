// The contract of communicator.h, a sentence a test, asked of every transport. What a rank finds out about others it
// is told by messages, since ranks may be processes.

#include "distributed/communicator_contract_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <thread>

#include "distributed/collectives.h"
#include "distributed/communicator_subgroup.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Bytes = std::vector<std::byte>;

Bytes filled(std::size_t count, int value) { return Bytes(count, static_cast<std::byte>(value)); }

int next_of(const Communicator& communicator) { return (communicator.rank() + 1) % communicator.rank_count(); }
int previous_of(const Communicator& communicator) {
  return (communicator.rank() + communicator.rank_count() - 1) % communicator.rank_count();
}

// Every rank's value, in the order of ranks.
std::vector<double> told_by_all(Communicator& communicator, double value) {
  std::vector<double> values(static_cast<std::size_t>(communicator.rank_count()), value);
  std::vector<std::span<std::byte>> receives;
  for (double& one : values) receives.push_back(std::as_writable_bytes(std::span(&one, 1)));
  Exchange exchange;
  add_all_gather(exchange, communicator, std::as_bytes(std::span(&value, 1)), receives, {});
  communicator.wait(communicator.exchange(exchange, {}));
  return values;
}

void compute_until_it_ends(Communicator& communicator) {
  for (;;) {
    communicator.compute({"local step", 5, {}, {}, [](void*) { std::this_thread::sleep_for(milliseconds(1)); }}, {});
  }
}

TEST_P(CommunicatorContract, EveryRankRunsOnceAndKnowsItsPlace) {
  for (const int rank_count : GetParam().rank_counts) {
    run(rank_count, [&](Communicator& communicator) {
      EXPECT_EQ(communicator.rank_count(), rank_count);
      const std::vector<double> ranks = told_by_all(communicator, communicator.rank());
      for (int rank = 0; rank < rank_count; ++rank) EXPECT_EQ(ranks.at(static_cast<std::size_t>(rank)), rank);
    });
  }
}

TEST_P(CommunicatorContract, BlocksOfUnequalAndZeroLengthTravelRound) {
  for (const int rank_count : GetParam().rank_counts) {
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
  constexpr int kRanks = 4;
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
    std::vector<Bytes> sent, received;
    for (int index = 0; index < 10; ++index) {  // short and long ones go different ways in some transports
      sent.push_back(filled(index % 2 == 0 ? 8 : 200'000, index));
      received.push_back(filled(sent.back().size(), 99));
    }
    std::vector<Event> events;
    for (std::size_t index = 0; index < 10; ++index) {
      events.push_back(communicator.exchange({{{peer, sent[index], {}}}, {{peer, received[index], {}}}}, {}));
    }
    for (const Event& event : events) communicator.wait(event);
    EXPECT_EQ(received, sent);
  });
}

TEST_P(CommunicatorContract, EventsMayBeWaitedForInAnyOrderAndTwice) {
  run(2, [&](Communicator& communicator) {
    const int peer = 1 - communicator.rank();
    const Bytes mine = filled(300'000, 3);
    std::array<Bytes, 2> theirs{filled(300'000, 0), filled(300'000, 0)};
    std::array<Event, 2> events;
    for (std::size_t at = 0; at < 2; ++at) {
      events.at(at) = communicator.exchange({{{peer, mine, {}}}, {{peer, theirs.at(at), {}}}}, {});
    }
    for (const std::size_t at : {1, 0, 1}) communicator.wait(events.at(at));
    EXPECT_EQ(theirs[0], mine);
    EXPECT_EQ(theirs[1], mine);
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

TEST_P(CommunicatorContract, ARankMaySendToItself) {
  run(2, [](Communicator& communicator) {
    const Bytes mine = filled(500, communicator.rank() + 1);
    Bytes copy = filled(500, 0);
    const int self = communicator.rank();
    communicator.wait(communicator.exchange({{{self, mine, {0, 1, 2, 0}}}, {{self, copy, {0, 1, 2, 0}}}}, {}));
    EXPECT_EQ(copy, mine);
  });
}

TEST_P(CommunicatorContract, AllocatedMemoryIsZeroAndMayBeEmpty) {
  run(2, [](Communicator& communicator) {
    const std::shared_ptr<std::byte> memory = communicator.allocate(4096), nothing = communicator.allocate(0);
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + 4096, [](std::byte byte) { return byte == std::byte{0}; }));
  });
}

// 2 GiB of addresses over 64 MiB of memory; the last piece has its own, so that the end of the transfer shows.
class LargeMapping {
 public:
  static constexpr std::size_t kPiece = std::size_t{1} << 26, kPieces = 33, kBytes = kPiece * kPieces;

  LargeMapping() {
    void* const at = mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw Error("no addresses for 2 GiB");
    data_ = static_cast<std::byte*>(at);
    const int file = memfd_create("ringproof_contract", 0);
    if (file < 0 || ftruncate(file, 2 * kPiece) != 0) throw Error("no memory file of 128 MiB");
    for (std::size_t piece = 0; piece < kPieces; ++piece) {
      const auto offset = static_cast<off_t>(piece + 1 == kPieces ? kPiece : 0);
      void* const here = data_ + piece * kPiece;
      if (mmap(here, kPiece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, offset) != here) {
        throw Error("the memory file cannot be mapped");
      }
    }
    close(file);
  }
  ~LargeMapping() { munmap(data_, kBytes); }
  LargeMapping(const LargeMapping&) = delete;
  LargeMapping& operator=(const LargeMapping&) = delete;

  std::span<std::byte> all() { return {data_, kBytes}; }

 private:
  std::byte* data_;
};

TEST_P(CommunicatorContract, MoreThanTwoToThe31BytesTravelInOneTransfer) {
  if (GetParam().copies) GTEST_SKIP() << "not run: a faulty wire copies what it carries, and is for small messages";
  run(2, [](Communicator& communicator) {
    LargeMapping memory;
    constexpr std::size_t kCount = LargeMapping::kBytes - 3;
    static_assert(kCount > std::size_t{1} << 31);
    const std::span<std::byte> bytes = memory.all().first(kCount);
    if (communicator.rank() == 0) {
      for (const std::size_t at : {std::size_t{5}, kCount - LargeMapping::kPiece, kCount - 1}) bytes[at] = std::byte{7};
      communicator.wait(communicator.exchange({{{1, bytes, {3, 1, 0, 0}}}, {}}, {}));
    } else {
      communicator.wait(communicator.exchange({{}, {{0, bytes, {3, 1, 0, 0}}}}, {}));
      for (const std::size_t at : {std::size_t{5}, kCount - LargeMapping::kPiece, kCount - 1}) {
        EXPECT_EQ(bytes[at], std::byte{7}) << at;
      }
      EXPECT_EQ(memory.all()[kCount], std::byte{0});
    }
  });
}

TEST_P(CommunicatorContract, NobodyLeavesABarrierBeforeAllHaveCome) {
  constexpr int kRanks = 4, kRounds = 20;
  run(kRanks, [&](Communicator& communicator) {
    const auto now = [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()); };
    for (int round = 0; round < kRounds; ++round) {
      if (round % kRanks == communicator.rank()) std::this_thread::sleep_for(milliseconds(2));
      const double came = now().count();
      communicator.barrier();
      const double left = now().count();
      const std::vector<double> all_came = told_by_all(communicator, came);
      EXPECT_LE(*std::max_element(all_came.begin(), all_came.end()), left);
    }
  });
}

TEST_P(CommunicatorContract, AllToAllBringsEveryRankItsPart) {
  for (const int rank_count : GetParam().rank_counts) {
    run(rank_count, [&](Communicator& communicator) {
      const int rank = communicator.rank();
      // Rank a sends b + 10 a times 100 (a + 2 b) bytes to rank b: unequal, and none from rank 0 to itself.
      const auto part = [](int from, int to) {
        return filled(100 * static_cast<std::size_t>(from + 2 * to), to + 10 * from);
      };
      std::vector<Bytes> mine, theirs;
      for (int peer = 0; peer < rank_count; ++peer) {
        mine.push_back(part(rank, peer));
        theirs.push_back(filled(part(peer, rank).size(), 255));
      }
      const std::vector<std::span<const std::byte>> sends(mine.begin(), mine.end());
      const std::vector<std::span<std::byte>> receives(theirs.begin(), theirs.end());
      Exchange exchange;
      add_all_to_all(exchange, communicator, sends, receives, {4, 2, 0, 1});
      communicator.wait(communicator.exchange(exchange, {}));
      for (int peer = 0; peer < rank_count; ++peer) {
        if (peer != rank) {
          EXPECT_EQ(theirs[static_cast<std::size_t>(peer)], part(peer, rank));
        }
      }
    });
  }
}

TEST_P(CommunicatorContract, AnAllReduceAddsInTheOrderOfRanksOnEveryRank) {
  for (const int rank_count : GetParam().rank_counts) {
    run(rank_count, [&](Communicator& communicator) {
      const auto value = [](int rank) {  // 1 is lost before the large numbers cancel: the order of additions shows
        return rank == 1 ? 0x1p60 : rank == 2 ? -0x1p60 : 1.0;
      };
      std::vector<double> values{value(communicator.rank()), 1.0 + communicator.rank()}, none;
      communicator.wait(all_reduce_sum(communicator, values, {4, 2, 0, 1}, {}));
      communicator.wait(all_reduce_sum(communicator, none, {4, 3, 0, 1}, {}));
      double want = 0;
      for (int rank = 0; rank < rank_count; ++rank) want += value(rank);
      EXPECT_EQ(values[0], want);
      EXPECT_EQ(values[1], 0.5 * rank_count * (rank_count + 1));
    });
  }
}

TEST_P(CommunicatorContract, SubgroupsWorkBesideEachOther) {
  run(4, [](Communicator& communicator) {
    const int rank = communicator.rank(), half = rank / 2, parity = rank % 2;
    SubgroupCommunicator neighbours(communicator, {2 * half + 1, 2 * half});  // in descending order
    SubgroupCommunicator strided(communicator, {parity, parity + 2});
    EXPECT_EQ(neighbours.rank(), 1 - parity);
    EXPECT_EQ(strided.rank(), half);
    const std::vector<double> of_neighbours = told_by_all(neighbours, rank), of_strided = told_by_all(strided, rank);
    EXPECT_EQ(of_neighbours, (std::vector<double>{2.0 * half + 1, 2.0 * half}));
    EXPECT_EQ(of_strided, (std::vector<double>{1.0 * parity, parity + 2.0}));
    for (int round = 0; round < 3; ++round) {
      neighbours.barrier();
      strided.barrier();
      communicator.barrier();
    }
    SubgroupCommunicator alone(communicator, {rank});
    alone.barrier();
    EXPECT_EQ(told_by_all(alone, 7), std::vector<double>{7});
  });
}

TEST_P(CommunicatorContract, AnUnequalLengthIsAnErrorNamingRankStepAndPeer) {
  const std::string failure = failure_of(2, kLong, [&](Communicator& communicator) {
    const int peer = 1 - communicator.rank();
    const Bytes mine = filled(communicator.rank() == 0 ? 16 : 24, 1);
    Bytes theirs = filled(16, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
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
    const std::string failure = failure_of(2, kLong, [&](Communicator& communicator) {
      Bytes bytes = filled(8, communicator.rank());
      const WithdrawAtExit withdraw_at_exit(communicator);
      if (communicator.rank() == 0) {
        communicator.wait(communicator.exchange({{{1, bytes, got}}, {}}, {}));
        compute_until_it_ends(communicator);
      } else {
        communicator.wait(communicator.exchange({{}, {{0, bytes, want}}}, {}));
        ADD_FAILURE() << "the wrong block was taken";
      }
    });
    EXPECT_TRUE(failure.starts_with("rank 1, step 3: wanted block 9 part 0")) << failure;
    EXPECT_NE(failure.find("got block " + std::to_string(got.block)), std::string::npos) << failure;
  }
}

TEST_P(CommunicatorContract, APeerOutsideTheGroupIsAnError) {
  for (const int peer : {-1, 2}) {
    const std::string failure = failure_of(2, kLong, [&](Communicator& communicator) {
      const Bytes mine = filled(8, 0);
      if (communicator.rank() == 1) communicator.exchange({{{peer, mine, {0, 4, 1, 0}}}, {}}, {});
    });
    EXPECT_TRUE(failure.starts_with("rank 1, step 4: ")) << failure;
    EXPECT_NE(failure.find("peer " + std::to_string(peer)), std::string::npos) << failure;
  }
}

TEST_P(CommunicatorContract, ARankThatThrowsEndsTheOthersAndIsNamed) {
  for (const int rank_bad : {0, 2}) {
    const std::string failure = failure_of(4, kLong, [&](Communicator& communicator) {
      if (communicator.rank() == rank_bad) throw std::runtime_error("the local step failed");
      const Bytes mine = filled(8, 0);
      Bytes theirs = filled(8, 0);
      const WithdrawAtExit withdraw_at_exit(communicator);
      for (;;) {
        communicator.wait(communicator.exchange(
            {{{next_of(communicator), mine, {}}}, {{previous_of(communicator), theirs, {}}}}, {}));
      }
    });
    EXPECT_EQ(failure, "rank " + std::to_string(rank_bad) + ": the local step failed");
  }
}

TEST_P(CommunicatorContract, ARankThatThrowsEndsThoseInABarrierAndThoseThatOnlyCompute) {
  const std::string failure = failure_of(3, kLong, [&](Communicator& communicator) {
    if (communicator.rank() == 0) throw Error("gone");
    if (communicator.rank() == 1) communicator.barrier();
    compute_until_it_ends(communicator);
  });
  EXPECT_EQ(failure, "rank 0: gone");
}

TEST_P(CommunicatorContract, AnExceptionOfAnyTypeNamesItsRank) {
  EXPECT_EQ(failure_of(2, kLong,
                       [](Communicator& c) {
                         if (c.rank() == 1) throw 42;
                       }),
            "rank 1: an exception of unknown type");
  EXPECT_EQ(failure_of(1, kLong, [](Communicator&) { throw std::runtime_error("alone"); }), "rank 0: alone");
}

TEST_P(CommunicatorContract, AWaitEndsAtItsDeadlineNamingRankStepPeerAndBlock) {
  const std::string failure = failure_of(2, kShort, [&](Communicator& communicator) {
    Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 0) compute_until_it_ends(communicator);
    communicator.wait(communicator.exchange({{}, {{0, bytes, {1, 6, 4, 1}}}}, {}));
  });
  EXPECT_TRUE(failure.starts_with(
      "rank 1, step 6: block 4 part 1 of step 6 (case 1, 8 bytes) from rank 0 did not happen within 400 ms"))
      << failure;
}

// Long, since some transports send ahead what is short.
TEST_P(CommunicatorContract, ASendThatNobodyTakesEndsToo) {
  const std::string failure = failure_of(2, kShort, [&](Communicator& communicator) {
    const Bytes bytes = filled(1 << 20, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    communicator.wait(communicator.exchange({{{1 - communicator.rank(), bytes, {1, 6, 4, 1}}}, {}}, {}));
  });
  const std::string what = "block 4 part 1 of step 6 (case 1, 1048576 bytes) to rank ";
  EXPECT_NE(failure.find(what), std::string::npos) << failure;
  // Some transports know at once that nobody can go on.
  const bool is_said = failure.find(" did not happen within 400 ms") != std::string::npos ||
                       failure.find(" did not happen: no rank can go on") != std::string::npos;
  EXPECT_TRUE(is_said) << failure;
}

TEST_P(CommunicatorContract, ABarrierEndsAtItsDeadline) {
  const std::string failure = failure_of(2, kShort, [&](Communicator& communicator) {
    if (communicator.rank() == 0) return communicator.barrier();
    compute_until_it_ends(communicator);
  });
  EXPECT_TRUE(failure.starts_with("rank 0")) << failure;
  EXPECT_NE(failure.find("within 400 ms"), std::string::npos) << failure;
}

TEST_P(CommunicatorContract, WaitingForARankThatHasEndedFailsAtOnce) {
  const std::string of_transfer = failure_of(2, kLong, [&](Communicator& communicator) {
    Bytes bytes = filled(8, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 1) communicator.wait(communicator.exchange({{}, {{0, bytes, {1, 6, 4, 0}}}}, {}));
  });
  EXPECT_EQ(of_transfer, "rank 1, step 6: block 4 part 0 of step 6 (case 1, 8 bytes) from rank 0: that rank has ended");
  const std::string of_barrier = failure_of(2, kLong, [&](Communicator& communicator) {
    if (communicator.rank() == 1) communicator.barrier();
  });
  EXPECT_TRUE(of_barrier.starts_with("rank 1")) << of_barrier;
  EXPECT_NE(of_barrier.find("has ended"), std::string::npos) << of_barrier;
}

TEST_P(CommunicatorContract, LeavingWithTransfersUnderWayFailsTheGroup) {
  const std::string failure = failure_of(2, kLong, [&](Communicator& communicator) {
    const Bytes bytes = filled(1 << 20, 0);
    const WithdrawAtExit withdraw_at_exit(communicator);
    if (communicator.rank() == 1) compute_until_it_ends(communicator);
    communicator.exchange({{{1, bytes, {1, 2, 0, 0}}}, {}}, {});
  });
  EXPECT_EQ(failure,
            "rank 0, step 2: left before block 0 part 0 of step 2 (case 1, 1048576 bytes) to rank 1 had happened");
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

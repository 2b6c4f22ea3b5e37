// The contract suite over stand-ins for CUDA and NCCL, ranks being threads, and what happens when one of the two fails.

#include "distributed/communicator_nccl.h"

#include <gtest/gtest.h>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "distributed/communicator_contract_test.h"
#include "distributed/communicator_nccl_launch_test.h"
#include "distributed/communicator_nccl_stand_in.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

INSTANTIATE_TEST_SUITE_P(Nccl, CommunicatorContract,
                         testing::Values(ContractTransport{
                             "nccl_over_stand_ins", {1, 2, 3, 4, 5, 7, 8}, stand_in_launcher}),
                         name_of_transport);

constexpr milliseconds kLong{20'000}, kShort{300};

// Passes a block on for ever.
void pass_on(Communicator& communicator, const std::function<void(int step)>& between) {
  const int next = (communicator.rank() + 1) % communicator.rank_count();
  const int previous = (communicator.rank() + communicator.rank_count() - 1) % communicator.rank_count();
  const std::shared_ptr<std::byte> mine = communicator.allocate(100'000), theirs = communicator.allocate(100'000);
  const WithdrawAtExit withdraw_at_exit(communicator);
  for (int step = 1;; ++step) {
    const Event arrived = communicator.exchange({{{next, {mine.get(), 100'000}, {1, step, communicator.rank(), 0}}},
                                                 {{previous, {theirs.get(), 100'000}, {1, step, previous, 0}}}},
                                                {});
    communicator.compute({"local step", step, {}, {}, [&, step](void*) { between(step); }}, {});
    communicator.wait(arrived);
  }
}

// The first word of rank `rank`, and that all ranks ended by it.
void expect_cause(const std::vector<std::string>& failures, const std::string& cause) {
  for (const std::string& failure : failures) EXPECT_NE(failure.find(cause), std::string::npos) << failure;
}

TEST(NcclJobs, AnErrorThatNcclMeetsByItselfIsNamedOnEveryRank) {
  stand_in::reset(1);
  const std::vector<std::string> failures = run_on_stand_ins(3, kLong, [](Communicator& communicator) {
    pass_on(communicator, [&](int step) {
      if (communicator.rank() == 1 && step == 5) stand_in::set_async_error(1, 2);  // ncclSystemError
    });
  });
  expect_cause(failures, "rank 1: NCCL reports unhandled system error (no words of NCCL's), while this rank ");
}

TEST(NcclJobs, APeerThatNeverComesEndsTheOthersAtTheDeadline) {
  stand_in::reset(1);
  std::vector<std::vector<int>> sockets = socket_pairs(2);
  stand_in::enter_rank(0);
  const auto start = std::chrono::steady_clock::now();
  try {
    const NcclJob job({0, 2, 0, sockets[0], kShort, {}});
    ADD_FAILURE() << "rank 1 was not missed";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "rank 0: a word of every rank did not come within 300 ms");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, kLong);
}

TEST(NcclJobs, ARankThatStopsInItsComputationEndsTheJobAtItsDeadline) {
  stand_in::reset(1);
  std::atomic<bool> goes_on = false;
  const std::vector<std::string> failures = run_on_stand_ins(3, kShort, [&](Communicator& communicator) {
    if (communicator.rank() == 1) {
      while (!goes_on) std::this_thread::sleep_for(milliseconds(1));
      return;
    }
    try {
      pass_on(communicator, [](int) {});
    } catch (...) {
      goes_on = true;
      throw;
    }
  });
  for (const std::string& failure : failures) {
    EXPECT_NE(failure.find("rank 1"), std::string::npos) << failure;
    EXPECT_NE(failure.find("did not happen within 300 ms"), std::string::npos) << failure;
  }
}

TEST(NcclJobs, WhatAComputationThrowsEndsTheJobAsItIs) {
  stand_in::reset(1);
  const std::vector<std::string> failures = run_on_stand_ins(3, kLong, [](Communicator& communicator) {
    pass_on(communicator, [&](int step) {
      if (communicator.rank() == 2 && step == 3) throw InputError("no such head dim");
    });
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "rank 2: no such head dim");
}

TEST(NcclJobs, EveryCallThatFailsIsNamedAndNothingIsLeftBehind) {
  for (const char* const call :
       {"cudaSetDevice", "cudaDeviceGetAttribute", "cudaDeviceGetPCIBusId", "cudaMallocManaged",
        "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaEventRecord", "cudaStreamWaitEvent",
        "cudaLaunchHostFunc", "ncclGetUniqueId", "ncclCommInitRankConfig", "ncclSend", "ncclRecv"}) {
    stand_in::reset(1);
    stand_in::fail(call, true);
    const std::vector<std::string> failures = run_on_stand_ins(2, kLong, [](Communicator& communicator) {
      const Event made = communicator.compute({"fill", 0, {}, {}, [](void*) {}}, {});
      communicator.exchange({{}, {}}, {&made, 1});
      communicator.wait(communicator.compute({"use", 1, {}, {}, [](void*) {}}, {&made, 1}));
      pass_on(communicator, [](int step) {
        if (step == 20) throw Error("nobody met it");
      });
    });
    for (const std::string& failure : failures) {
      EXPECT_NE(failure.find(std::string(call) + " failed: "), std::string::npos) << call << ": " << failure;
    }
    EXPECT_EQ(stand_in::things_alive(), 0) << call;
  }
  stand_in::reset(1);
}

TEST(NcclJobs, TwoRanksOnOneGpuAreRefusedUnlessTheyAreSaidToBeApart) {
  const auto run = [] {
    stand_in::reset(1);
    stand_in::share_gpu(true);
    return run_on_stand_ins(3, kLong, [](Communicator& communicator) { communicator.barrier(); });
  };
  for (const std::string& failure : run()) {
    EXPECT_NE(failure.find("ranks 0 and 1 share the GPU 0000:00:00.0 of "), std::string::npos) << failure;
    EXPECT_NE(failure.find("give each rank a GPU of its own"), std::string::npos) << failure;
  }
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
  for (const std::string& failure : run()) EXPECT_EQ(failure, "");
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
}

// The process that ends is another one.
TEST(NcclJobsDeathTest, AnAbortThatHangsEndsTheProcessSayingWhereItStood) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        stand_in::reset(1);
        stand_in::make_aborts_hang();
        run_on_stand_ins(2, kShort, [](Communicator& communicator) {
          pass_on(communicator, [&](int step) {
            if (communicator.rank() == 1 && step == 5) stand_in::set_async_error(1, 2);
          });
        });
      },
      testing::ExitedWithCode(3), "ringproof: rank [01] cannot stop NCCL and ends; it .*; rank 1: NCCL reports");
}

TEST(NcclJobs, MessagesBesideTheTransportArriveInTheirOrder) {
  stand_in::reset(1);
  const std::vector<std::vector<int>> sockets = socket_pairs(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      stand_in::enter_rank(rank);
      NcclJob job({rank, 3, 0, sockets[static_cast<std::size_t>(rank)], kLong, {}});
      const int next = (rank + 1) % 3, previous = (rank + 2) % 3;
      for (int count : {0, 1, 100'000}) {
        job.send(next, std::vector<std::byte>(static_cast<std::size_t>(count), static_cast<std::byte>(rank)));
      }
      for (int count : {0, 1, 100'000}) {
        EXPECT_EQ(job.receive(previous, count == 0),
                  std::vector<std::byte>(static_cast<std::size_t>(count), static_cast<std::byte>(previous)));
      }
      job.run([](Communicator&) {});
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace ringproof

// The contract suite and the ring on real processes. A test runs in its own process, the parent, which starts mpirun on
// this very executable once per group of ranks it asks for; each rank comes to the same place in the same test, runs
// the body there, writes down how it ended, and exits.

#include "distributed/communicator_mpi.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>

#include "distributed/communicator_contract_test.h"
#include "distributed/communicator_subgroup.h"
#include "distributed/ranks_answer_test.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string name_of_this_test() {
  const testing::TestInfo* const info = testing::UnitTest::GetInstance()->current_test_info();
  return std::string(info->test_suite_name()) + "." + info->name();
}

// Counts the groups a test asks for, from 1.
int next_call() {
  static std::string test;
  static int calls = 0;
  if (test != name_of_this_test()) calls = 0;
  test = name_of_this_test();
  return ++calls;
}

// A rank: runs the body, leaves FOLDER/RANK, whose first line says whether its expectations held, and never returns.
[[noreturn]] void run_as_rank(int rank_count, milliseconds deadline, const std::function<void(Communicator&)>& body) {
  const fs::path folder = variable("RINGPROOF_TEST_FOLDER");
  // What other groups of the test, which do not run here, would have been expected to do, counts for nothing.
  const auto failures = [] {
    const testing::TestResult& result = *testing::UnitTest::GetInstance()->current_test_info()->result();
    int count = 0;
    for (int part = 0; part < result.total_part_count(); ++part) count += result.GetTestPartResult(part).failed();
    return count;
  };
  const int failures_before = failures();
  MpiJob job(deadline);
  std::string failure;
  try {
    job.run(body);
  } catch (const Error& error) {
    failure = error.what();
  }
  const bool has_failed = failures() > failures_before;
  const std::string mine = (folder / std::to_string(job.world().rank())).string();
  std::ofstream(mine + ".part") << (has_failed ? "failed" : "held") << "\n" << failure;
  fs::rename(mine + ".part", mine);
  const auto is_complete = [&] {
    for (int rank = 0; rank < rank_count; ++rank) {
      if (!fs::exists(folder / std::to_string(rank))) return false;
    }
    return true;
  };
  // The first to end a failed job ends the others, who want to write too.
  for (int turn = 0; !failure.empty() && !is_complete() && turn < 300; ++turn) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  std::_Exit(job.end(0));
}

struct Ended {
  std::string failure, log;
  std::vector<std::string> standing;  // of ranks ended by SIGTERM, by rank
  int reports = 0;
  int status = 0;
};

// How many processes have `text` in their environment.
int processes_with(const std::string& text) {
  int count = 0;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc")) {
    const std::string name = process.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos || std::stoi(name) == getpid()) continue;
    count += text_of(process.path() / "environ").find(text) != std::string::npos;
  }
  return count;
}

constexpr int kJobSeconds = 240;  // far more than any job here takes on a busy machine
constexpr int kExitOfTimeout = 124;
constexpr int kReportSeconds =
    10;  // a survivor of a busy machine has to say where it stands; a stopped rank costs all of it

Ended run_mpirun(int rank_count, int call) {
  const fs::path folder =
      fs::temp_directory_path() / ("ringproof_mpi_" + std::to_string(getpid()) + "_" + std::to_string(call));
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::ostringstream command;
  command << kMpiReportsVariable << "=" << folder << " RINGPROOF_TEST_FOLDER=" << folder
          << " RINGPROOF_TEST_CALL=" << call
          << " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1"
          << " OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_odls_base_sigkill_timeout=" << kReportSeconds << " timeout -k 5 "
          << kJobSeconds << " " << RINGPROOF_MPIEXEC << " -n " << rank_count << " "
          << fs::read_symlink("/proc/self/exe") << " --gtest_filter='" << name_of_this_test() << "' > "
          << (folder / "log") << " 2>&1";
  Ended ended;
  ended.status = std::system(command.str().c_str());
  ended.log = text_of(folder / "log");
  for (int rank = 0; rank < rank_count; ++rank) {
    ended.standing.push_back(text_of(folder / ("rank-" + std::to_string(rank))));
    const std::string text = text_of(folder / std::to_string(rank));
    if (text.empty()) continue;
    ++ended.reports;
    const std::size_t line = text.find('\n');
    EXPECT_EQ(text.substr(0, line), "held") << "on rank " << rank << ":\n" << ended.log;
    if (ended.failure.empty()) ended.failure = text.substr(line + 1);
  }
  for (int turn = 0; turn < 100 && processes_with(folder.string()) > 0; ++turn) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(processes_with(folder.string()), 0) << "processes are left behind";
  fs::remove_all(folder);
  return ended;
}

// In the parent, how the group ended; a rank does not come back.
Ended run_on_processes(int rank_count, milliseconds deadline, const std::function<void(Communicator&)>& body) {
  const int call = next_call();
  const std::string asked = variable("RINGPROOF_TEST_CALL");
  if (asked.empty()) return run_mpirun(rank_count, call);
  if (asked == std::to_string(call)) run_as_rank(rank_count, deadline, body);
  return {};
}

Launcher mpirun_launcher(milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    const Ended ended = run_on_processes(rank_count, deadline, body);
    if (!ended.failure.empty()) throw Error(ended.failure);
    if (variable("RINGPROOF_TEST_CALL").empty()) {
      EXPECT_EQ(ended.reports, rank_count) << ended.log;
      EXPECT_EQ(ended.status, 0) << ended.log;
    }
  };
}

INSTANTIATE_TEST_SUITE_P(Processes, CommunicatorContract,
                         testing::Values(ContractTransport{"mpi", {2, 3, 4, 8}, mpirun_launcher}), name_of_transport);

// One step of a ring after another, for ever.
void pass_on_for_ever(Communicator& communicator, const std::function<void(int step)>& between) {
  const int next = (communicator.rank() + 1) % communicator.rank_count();
  const int previous = (communicator.rank() + communicator.rank_count() - 1) % communicator.rank_count();
  const std::vector<std::byte> mine(1 << 20);
  std::vector<std::byte> theirs(1 << 20);
  const WithdrawAtExit withdraw_at_exit(communicator);
  for (int step = 1;; ++step) {
    const Event arrived = communicator.exchange(
        {{{next, mine, {1, step, communicator.rank(), 0}}}, {{previous, theirs, {1, step, previous, 0}}}}, {});
    communicator.compute({"local step", step, {}, {}, [&](void*) { between(step); }}, {});
    communicator.wait(arrived);
  }
}

// mpirun ends the survivors, who say where they stood, long before their deadline, which outlasts the test.
TEST(MpiJobs, ARankThatIsKilledEndsTheJobAndEverySurvivorReports) {
  const Ended ended = run_on_processes(4, milliseconds(1000 * kJobSeconds), [](Communicator& communicator) {
    pass_on_for_ever(communicator, [&](int step) {
      if (communicator.rank() == 2 && step == 5) std::raise(SIGKILL);
    });
  });
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(WEXITSTATUS(ended.status), kExitOfTimeout) << ended.log;
  for (const int rank : {0, 1, 3}) {
    const std::string line = ended.standing.at(static_cast<std::size_t>(rank));
    EXPECT_TRUE(line.starts_with("ringproof: rank " + std::to_string(rank) + " ")) << line << ended.log;
    for (const char* const word : {"step", "block", "rank"}) EXPECT_NE(line.find(word), std::string::npos) << line;
  }
}

TEST(MpiJobs, ARankThatStopsEndsTheJobAtItsDeadline) {
  const Ended ended = run_on_processes(3, milliseconds(1000), [](Communicator& communicator) {
    pass_on_for_ever(communicator, [&](int step) {
      if (communicator.rank() == 1 && step == 3) std::raise(SIGSTOP);
    });
  });
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(WEXITSTATUS(ended.status), kExitOfTimeout) << ended.log;
  EXPECT_NE(ended.failure.find("did not happen within 1000 ms"), std::string::npos) << ended.failure << ended.log;
  EXPECT_NE(ended.failure.find("block"), std::string::npos) << ended.failure;
}

TEST(MpiJobs, EveryAlgorithmGivesTheBitsItGivesOnThreads) {
  expect_every_algorithm_gives_the_bits_of_threads(mpirun_launcher(milliseconds(60'000)));
}

}  // namespace
}  // namespace ringproof

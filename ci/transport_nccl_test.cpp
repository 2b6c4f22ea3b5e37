// The gate over NCCL as a user starts it, on stand-ins for the functions of CUDA and NCCL: threads of this program are
// the processes of the job, each with variables of its own where a launcher's would stand.

#include "ci/transport_nccl.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "distributed/buffer.h"
#include "distributed/communicator_nccl_library.h"
#include "distributed/communicator_nccl_stand_in.h"
#include "reference/spec/error.h"

namespace ringproof {

// The library is the stand-in here.
std::string nccl_missing_reason() { return ""; }

namespace {

const std::string kSmall = "fwd/fp32/b1.hq4.hkv2.sq37.skv41.dqk16.dv8/causal_bottom_right/scale0.25/gauss:7/bhsd/";

int free_port() {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool is_bound = bind(listening, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                        getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  assert_that(is_bound, "a test gets a port");
  close(listening);
  return ntohs(address.sin_port);
}

GateOptions options_for(const std::vector<std::string>& topologies) {
  GateOptions options;
  options.transport = "nccl";
  options.candidates = {"ring:double"};
  options.shrink = false;
  options.threads = 1;
  options.deadline_seconds = 30;
  for (const std::string& topology : topologies) options.cases.lines.push_back(kSmall + topology);
  return options;
}

struct Ended {
  std::vector<ExitCode> codes;
  std::vector<std::string> refusals;  // InputError's words
};

Ended run_job(int processes, const GateOptions& options) {
  const std::string port = std::to_string(free_port()), count = std::to_string(processes);
  Ended ended{std::vector<ExitCode>(static_cast<std::size_t>(processes), ExitCode::kBadInput),
              std::vector<std::string>(static_cast<std::size_t>(processes))};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < processes; ++rank) {
    threads.emplace_back([&, rank] {
      stand_in::enter_rank(rank);
      const std::string own = std::to_string(rank);
      const std::map<std::string, std::string> variables{{"RANK", own},
                                                         {"WORLD_SIZE", count},
                                                         {"LOCAL_RANK", own},
                                                         {"MASTER_ADDR", "127.0.0.1"},
                                                         {"MASTER_PORT", port}};
      const auto environment = [&](const char* name) {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      };
      const auto at = static_cast<std::size_t>(rank);
      try {
        ended.codes[at] = run_gate_over_nccl(options, environment);
      } catch (const InputError& error) {
        ended.refusals[at] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ended;
}

TEST(GateOverNccl, AcceptsARingWhoseRanksAreProcesses) {
  for (const int processes : {1, 2, 4}) {
    stand_in::reset(static_cast<std::uint64_t>(processes));
    const std::string ranks = std::to_string(processes);
    const Ended ended =
        run_job(processes, options_for({"contiguous" + ranks, "zigzag" + ranks, "head_split" + ranks, "single"}));
    for (const ExitCode code : ended.codes) EXPECT_EQ(code, ExitCode::kAccepted) << processes;
    EXPECT_EQ(stand_in::races(), std::vector<std::string>{});
    EXPECT_EQ(stand_in::things_alive(), 0);
  }
}

void forget_to_merge(const TensorView&, const TensorView&, const TensorView&, const TensorView&) {}

TEST(GateOverNccl, RejectsARingThatForgetsToMerge) {
  stand_in::reset(1);
  GateOptions options = options_for({"contiguous2"});
  for (RingComposition& ring : options.rings) ring.parts.merge = forget_to_merge;
  const Ended ended = run_job(2, options);
  EXPECT_EQ(ended.codes[0], ExitCode::kRejected);
}

// A local step as on a device: what it gives to the stream runs later, and reaches the transport's memory alone.
LocalStep enqueueing_double_step() {
  LocalStep step = double_step();
  step.enqueues = true;
  step.takes_blocks = step.takes_sink = false;
  step.run = [](const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                const TensorView& out, const TensorView& lse, void* stream) {
    for (const TensorView& view : {q, k, v, out, lse}) {
      assert_that(memory_of(view).empty() || stand_in::is_allocated(view.data), "a device reaches what it computes on");
    }
    stand_in::enqueue(stream, [=] {
      for (const TensorView& view : {q, k, v}) stand_in::reads(memory_of(view), "kernel");
      for (const TensorView& view : {out, lse}) stand_in::writes(memory_of(view), "kernel");
      double_step().run(problem, q, k, v, out, lse, nullptr);
    });
  };
  return step;
}

TEST(GateOverNccl, LocalStepsOnADeviceReadAndWriteTheMemoryOfTheTransport) {
  for (const int processes : {1, 3, 4}) {
    stand_in::reset(10 + static_cast<std::uint64_t>(processes));
    const std::string ranks = std::to_string(processes);
    GateOptions options =
        options_for({"contiguous" + ranks, "zigzag" + ranks, "head_split" + ranks, "all_gather" + ranks, "single"});
    for (RingComposition& ring : options.rings) ring.local_step = enqueueing_double_step();
    const Ended ended = run_job(processes, options);
    for (const ExitCode code : ended.codes) EXPECT_EQ(code, ExitCode::kAccepted) << processes;
    EXPECT_EQ(stand_in::races(), std::vector<std::string>{});
  }
}

TEST(GateOverNccl, AnErrorOfNcclIsInconclusiveOnEveryProcess) {
  stand_in::reset(1);
  GateOptions options = options_for({"contiguous3"});
  for (RingComposition& ring : options.rings) {
    ring.local_step.run = [run = ring.local_step.run](const LocalProblem& problem, const TensorView& q,
                                                      const TensorView& k, const TensorView& v, const TensorView& out,
                                                      const TensorView& lse, void* stream) {
      stand_in::set_async_error(1, 2);  // ncclSystemError
      run(problem, q, k, v, out, lse, stream);
    };
  }
  for (const ExitCode code : run_job(3, options).codes) EXPECT_EQ(code, ExitCode::kInconclusive);
}

TEST(GateOverNccl, ATopologyOfMoreRanksThanProcessesIsBadInput) {
  stand_in::reset(1);
  GateOptions options = options_for({"single"});
  options.cases.topology = Topology{Schedule::kZigzag, 4};
  const Ended ended = run_job(2, options);
  EXPECT_EQ(ended.codes[0], ExitCode::kBadInput);
  EXPECT_EQ(ended.codes[1], ExitCode::kAccepted) << "it heard of the end and left at once";
}

TEST(GateOverNccl, TwoRanksOnOneGpuNeedPermission) {
  stand_in::reset(1);
  stand_in::share_gpu(true);
  for (const std::string& refusal : run_job(2, options_for({"contiguous2"})).refusals) {
    EXPECT_NE(refusal.find("ranks 0 and 1 share the GPU 0000:00:00.0"), std::string::npos) << refusal;
    EXPECT_NE(refusal.find("give each rank a GPU of its own, or each its own NCCL_HOSTID"), std::string::npos);
  }
}

TEST(GateOverNccl, WithoutALauncherItSaysHowToStartIt) {
  try {
    run_gate_over_nccl(options_for({"contiguous2"}), [](const char*) -> const char* { return nullptr; });
    ADD_FAILURE() << "it started";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("start it by torchrun, mpirun or srun"), std::string::npos);
  }
}

}  // namespace
}  // namespace ringproof

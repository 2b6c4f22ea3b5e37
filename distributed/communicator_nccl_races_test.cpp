// The streams and events of communicator_nccl, over the stand-ins: nothing races in what the algorithms do with them;
// every call of it that orders work, or waits for it, is dropped in turn, and each drop is named.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>

#include "distributed/buffer.h"
#include "distributed/communicator_nccl_launch_test.h"
#include "distributed/communicator_nccl_stand_in.h"
#include "distributed/ranks_answer_test.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

// Tells the stand-in what computations do with memory, which CUDA does not know.
class TellingCommunicator final : public Communicator {
 public:
  explicit TellingCommunicator(Communicator& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    stand_in::name_buffer(memory, name);
  }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    return inner_.exchange(exchange, after);
  }
  Event compute(const Compute& compute, std::span<const Event> after) override {
    Compute told = compute;
    told.run = [compute](void* stream) {
      const std::string who = compute.name + " of step " + std::to_string(compute.step);
      for (const auto& bytes : compute.reads) stand_in::reads(bytes, who);
      for (const auto& bytes : compute.writes) stand_in::writes(bytes, who);
      compute.run(stream);
    };
    return inner_.compute(told, after);
  }
  void wait(Event event) override { inner_.wait(event); }
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override { inner_.withdraw(); }

 private:
  Communicator& inner_;
};

// What was received is read; a ring's answer is read; the memory of a computation that nobody waited for is taken back.
void use_everything(Communicator& nccl) {
  TellingCommunicator communicator(nccl);
  const int next = (nccl.rank() + 1) % nccl.rank_count(),
            previous = (nccl.rank() + nccl.rank_count() - 1) % nccl.rank_count();
  const std::shared_ptr<std::byte> sent = communicator.allocate(8), received = communicator.allocate(8);
  communicator.wait(communicator.exchange({{{next, {sent.get(), 8}, {}}}, {{previous, {received.get(), 8}, {}}}}, {}));
  stand_in::reads({received.get(), 8}, "who waited for it");

  Problem problem{Dtype::kF32, {MaskKind::kFull}, 1, 2, 2, 9, 9, 4, 4, 0.5};
  problem.topology = {Schedule::kContiguous, nccl.rank_count()};
  problem.rank = nccl.rank();
  const Inputs inputs = make_inputs(problem, {RecipeKind::kGauss, 0, "", 7}, {});
  const auto shard = [&](const Tensor& whole) { return shard_of(whole.view(), problem.topology, problem.rank); };
  const Tensor q = shard(inputs.q), k = shard(inputs.k), v = shard(inputs.v), out(q.dtype(), q.shape());
  ring_forward(communicator, double_step(), {}, problem, 1, q.view(), k.view(), v.view(), out.view(), nullptr);
  stand_in::reads(memory_of(out.view()), "who asked for the ring");

  std::vector<std::byte> memory(8);
  {
    const WithdrawAtExit withdraw_at_exit(communicator);
    communicator.compute({"fill", 7, {}, {memory}, [&](void*) { memory[0] = std::byte{1}; }}, {});
  }
  stand_in::writes(memory, "who took the memory back");
}

std::vector<std::string> run_with(std::uint64_t seed, const std::vector<stand_in::Site>& dropped) {
  stand_in::reset(seed);
  for (const stand_in::Site& site : dropped) stand_in::drop(site);
  const std::vector<std::string> failures = run_on_stand_ins(3, milliseconds(20'000), use_everything);
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  return stand_in::races();
}

TEST(NcclStreams, ARingRunsWithoutARaceInEveryOrder) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(run_with(seed, {}), std::vector<std::string>{}) << seed;
}

// How often the sources call it, comments aside.
std::int64_t calls_in_source(const std::string& function) {
  std::int64_t count = 0;
  for (const char* const file : {"communicator_nccl.cpp", "communicator_nccl_comm.cpp"}) {
    std::ifstream in(std::string(RINGPROOF_DISTRIBUTED_SOURCES) + "/" + file);
    for (std::string line; std::getline(in, line);) {
      const std::string code = line.substr(0, line.find("//"));
      for (std::size_t at = 0; (at = code.find(function + "(", at)) != std::string::npos; ++at) ++count;
    }
  }
  return count;
}

TEST(NcclStreams, EveryDroppedCallThatOrdersWorkIsNamed) {
  run_with(1, {});
  const std::vector<stand_in::Site> sites = stand_in::ordering_sites();
  for (const char* const function : {"cudaStreamWaitEvent", "cudaEventRecord", "cudaEventQuery", "cudaStreamQuery"}) {
    const auto count =
        std::count_if(sites.begin(), sites.end(), [&](const auto& one) { return one.function == function; });
    EXPECT_GT(calls_in_source(function), 0) << function;
    EXPECT_GE(count, calls_in_source(function)) << function << " is called where this test does not come";
  }
  std::map<std::string, std::vector<stand_in::Site>> unnamed;
  for (const stand_in::Site& site : sites) {
    if (site.function == "ncclCommGetAsyncError") continue;  // the next test
    const std::vector<std::string> races = run_with(1, {site});
    if (races.empty()) unnamed[site.function].push_back(site);
    for (const std::string& race : races) {
      for (const char* const word : {"rank ", "nothing orders it before", " of "}) {
        EXPECT_NE(race.find(word), std::string::npos) << race;
      }
    }
  }
  // The compiler may have copied one call to several places, of which some only ask what another asks again.
  for (const auto& [function, copies] : unnamed) {
    EXPECT_EQ(calls_in_source(function), 1) << function << " can be left out unseen";
    std::vector<stand_in::Site> all;
    std::copy_if(sites.begin(), sites.end(), std::back_inserter(all),
                 [&, name = function](const stand_in::Site& one) { return one.function == name; });
    EXPECT_FALSE(run_with(1, all).empty()) << function << " can be left out unseen";
  }
}

// NCCL gives a group to its stream some time after ncclGroupEnd: an event recorded before that comes too early.
TEST(NcclStreams, NotFollowingAGroupToItsEndIsNamed) {
  run_with(1, {});
  std::vector<stand_in::Site> asked;
  for (const stand_in::Site& site : stand_in::ordering_sites()) {
    if (site.function == "ncclCommGetAsyncError") asked.push_back(site);
  }
  std::size_t named = 0;
  for (const stand_in::Site& site : asked) named += !run_with(1, {site}).empty();
  EXPECT_GE(named, 1u);
}

TEST(NcclStreams, ARaceIsNamedByRanksStreamsAndBuffers) {
  run_with(1, {});
  for (const stand_in::Site& site : stand_in::ordering_sites()) {
    if (site.function != "cudaStreamWaitEvent") continue;
    const std::vector<std::string> races = run_with(1, {site});
    std::string all;
    for (const std::string& race : races) all += race + "\n";
    EXPECT_NE(all.find("stream 1: nccl"), std::string::npos) << all;
  }
}

TEST(NcclStreams, EveryAlgorithmGivesTheBitsItGivesOnThreads) {
  expect_every_algorithm_gives_the_bits_of_threads(stand_in_launcher(milliseconds(60'000)));
}

}  // namespace
}  // namespace ringproof

// The algorithms in the simulator: right and without a race in many orders, and every wait and every record that stands
// in their sources is needed. Waits are found by running: a communicator between the algorithm and the transport sees
// them all and leaves one out. That none stands in a source without being seen is counted in the text itself.

#include "distributed/communicator_simulated.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <ostream>
#include <regex>
#include <set>
#include <sstream>

#include "distributed/buffer.h"
#include "distributed/candidates.h"
#include "distributed/collectives.h"
#include "distributed/ranks_answer_test.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

// What an algorithm does about order: an operation waits for the n-th event it is given, the host for an operation's
// event, or an operation records its event, for all who wait for it.
struct Wait {
  enum class Kind : std::int32_t { kOfOperation, kOfHost, kRecord };
  Kind kind;
  std::string name;  // of the operation that waits; of the one waited for
  std::size_t index = 0;
  auto operator<=>(const Wait&) const = default;
};

std::string to_string(const Wait& wait) {
  if (wait.kind == Wait::Kind::kOfOperation) return wait.name + " after event " + std::to_string(wait.index);
  return (wait.kind == Wait::Kind::kOfHost ? "host waits for " : "record of ") + wait.name;
}

struct Seen {
  std::set<Wait> waits;
  std::set<std::string> exchanges, computations;
};

// Passes everything on but `dropped`.
class Dropping final : public Communicator {
 public:
  Dropping(Communicator& inner, const std::optional<Wait>& dropped, Seen& seen)
      : inner_(inner), dropped_(dropped), seen_(seen) {}

  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    inner_.name_memory(memory, name);
  }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    seen_.exchanges.insert(exchange.name);
    return named(inner_.exchange(exchange, kept(exchange.name, after)), exchange.name);
  }
  Event compute(const Compute& compute, std::span<const Event> after) override {
    seen_.computations.insert(compute.name);
    return named(inner_.compute(compute, kept(compute.name, after)), compute.name);
  }
  void wait(Event event) override {
    if (event.id != 0 && keeps({Wait::Kind::kOfHost, names_.at(event.id)}, event)) inner_.wait(event);
  }
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override { inner_.withdraw(); }

 private:
  Event named(Event event, const std::string& name) {
    names_[event.id] = name;
    return event;
  }
  bool keeps(const Wait& wait, Event event) {
    const Wait record{Wait::Kind::kRecord, names_.at(event.id)};
    seen_.waits.insert({wait, record});
    return dropped_ != wait && dropped_ != record;
  }
  std::vector<Event> kept(const std::string& name, std::span<const Event> after) {
    std::vector<Event> events;
    for (std::size_t index = 0; index < after.size(); ++index) {
      if (after[index].id == 0) continue;
      if (keeps({Wait::Kind::kOfOperation, name, index}, after[index])) events.push_back(after[index]);
    }
    return events;
  }

  Communicator& inner_;
  const std::optional<Wait>& dropped_;
  Seen& seen_;  // one rank at a time has the turn
  std::map<std::int64_t, std::string> names_;
};

struct SimulatedRun {
  SimulatedReport report;
  Seen seen;
  Answer answer;
};

Problem problem_on(const Topology& topology, const Mask& mask) {
  Problem problem{Dtype::kF64, mask, 1, 4, 2, 13, 18, 3, 5, 1.0};
  static const std::vector<float> sink{0.5f, 1, 1.5f, 2};
  problem.topology = topology;
  problem.has_sink = true;
  problem.sink = sink.data();
  return problem;
}

Inputs inputs_of(const Problem& problem) { return make_inputs(problem, {RecipeKind::kGauss, 0, "", 5}, {}); }

SimulatedRun simulated_run(const Problem& problem, std::uint64_t seed, const std::optional<Wait>& dropped = {}) {
  const Inputs inputs = inputs_of(problem);
  SimulatedRun run;
  const Launcher launcher = [&](int rank_count, const std::function<void(Communicator&)>& body) {
    run.report = simulate(rank_count, {seed}, [&](Communicator& inner) {
      Dropping communicator(inner, dropped, run.seen);
      body(communicator);
    });
  };
  run.answer =
      ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view(), nullptr, launcher);
  return run;
}

std::vector<Topology> topologies(const std::vector<int>& rank_counts) {
  std::vector<Topology> all = ring_topologies(rank_counts);
  for (const Topology& topology : gathering_topologies(rank_counts)) all.push_back(topology);
  return all;
}

const std::vector<Mask> kMasks{{MaskKind::kFull}, {MaskKind::kCausalTopLeft}};

TEST(Simulated, EveryAlgorithmIsTheSameBitForBitAndWithoutARaceInEveryOrder) {
  std::uint64_t seed = 0;
  for (const Topology& topology : topologies({1, 2, 3, 4, 5, 7, 8})) {
    for (const Mask& mask : kMasks) {
      const Problem problem = problem_on(topology, mask);
      const Inputs inputs = inputs_of(problem);
      const Answer want = ranks_answer(problem, double_step(), inputs.q.view(), inputs.k.view(), inputs.v.view());
      for (int order = 0; order < 6; ++order) {
        const SimulatedRun run = simulated_run(problem, ++seed);
        SCOPED_TRACE(to_string(topology) + " seed " + std::to_string(seed));
        EXPECT_EQ(run.report.failure, "");
        for (const Race& race : run.report.races) ADD_FAILURE() << to_string(race);
        EXPECT_EQ(run.answer.out.bytes(), want.out.bytes());
        EXPECT_EQ(run.answer.lse.bytes(), want.lse.bytes());
      }
    }
  }
}

TEST(Simulated, TheSameSeedGivesTheSameOrder) {
  const Problem problem = problem_on({Schedule::kZigzag, 4}, {MaskKind::kFull});
  const auto order_of = [&](std::uint64_t seed) {
    std::vector<std::string> order;
    LocalStep step = double_step();
    step.run = [&](const LocalProblem&, const TensorView& q, const TensorView&, const TensorView&, const TensorView&,
                   const TensorView&, void*) { order.push_back(std::to_string(q.load(0, 0, 0, 0))); };
    const Inputs inputs = inputs_of(problem);
    ranks_answer(problem, step, inputs.q.view(), inputs.k.view(), inputs.v.view(), nullptr,
                 simulated_launcher({seed}, [](const Race&) {}));
    return order;
  };
  const std::vector<std::string> first = order_of(1);
  EXPECT_EQ(order_of(1), first);
  std::set<std::vector<std::string>> orders;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) orders.insert(order_of(seed));
  EXPECT_GT(orders.size(), 15u);
}

// A race is the rank's, of a step, in a buffer with a name; what is left behind is a failure that names rank and step.
bool is_named(const SimulatedReport& report) {
  for (const Race& race : report.races) {
    const bool has_place = race.first.rank >= 0 && race.first.step >= 0 && race.second.step >= 0;
    if (has_place && !race.buffer.empty() && !race.buffer.starts_with("memory of")) return true;
  }
  return std::regex_search(report.failure, std::regex("^rank [0-9]+, step [0-9]+: left before "));
}

struct Algorithm {
  std::string name, source;
  std::vector<Topology> topologies;
};

void PrintTo(const Algorithm& algorithm, std::ostream* out) { *out << algorithm.name; }

const std::vector<Algorithm> kAlgorithms{
    {"ring", "ring.cpp", ring_topologies({3, 4})},
    {"all_gather", "all_gather.cpp", {{Schedule::kAllGather, 3}}},
    {"head_split", "head_split.cpp", {{Schedule::kHeadSplit, 2}, {Schedule::kHeadSplit, 3}}},
    {"hybrid", "head_split.cpp", {{Schedule::kZigzag, 6, 2}, {Schedule::kContiguous, 8, 2}}}};

// The others run the ring's source too, of one rank or of few: a wait of it is needed if any of them needs it.
TEST(Simulated, EveryWaitAndEveryRecordDroppedIsNamed) {
  std::set<Wait> waits, named;
  for (const Algorithm& algorithm : kAlgorithms) {
    for (const Topology& topology : algorithm.topologies) {
      for (const Mask& mask : kMasks) {
        const Problem problem = problem_on(topology, mask);
        const std::set<Wait> here = simulated_run(problem, 1).seen.waits;
        waits.insert(here.begin(), here.end());
        for (const Wait& wait : here) {
          if (is_named(simulated_run(problem, 1, wait).report)) named.insert(wait);
        }
      }
    }
  }
  EXPECT_FALSE(waits.empty());
  for (const Wait& wait : waits) EXPECT_TRUE(named.contains(wait)) << to_string(wait);
}

TEST(Simulated, EveryWaitAndEveryRecordOfAnAllReduceDroppedIsNamed) {
  const auto run = [](const std::optional<Wait>& dropped, Seen& seen) {
    return simulate(3, {1}, [&](Communicator& inner) {
      Dropping communicator(inner, dropped, seen);
      const Buffer sums = make_buffer(communicator, "sums", Dtype::kF64, {1, 1, 1, 4});
      const WithdrawAtExit withdraw_at_exit(communicator);
      const std::span values(static_cast<double*>(sums.view.data), 4);
      communicator.wait(all_reduce_sum(communicator, values, {1, 2, 0, 0}, {}));
    });
  };
  Seen seen, other;
  EXPECT_FALSE(is_named(run({}, seen)));
  EXPECT_EQ(seen.waits.size(), 4u);
  for (const Wait& wait : seen.waits) EXPECT_TRUE(is_named(run(wait, other))) << to_string(wait);
}

class Waits : public testing::TestWithParam<Algorithm> {};

// What is named does not depend on the order that the seed chose.
TEST_P(Waits, ADropIsNamedInEveryOrder) {
  const Problem problem = problem_on(GetParam().topologies.front(), {MaskKind::kFull});
  for (const Wait& wait : simulated_run(problem, 1).seen.waits) {
    const bool want = is_named(simulated_run(problem, 1, wait).report);
    for (std::uint64_t seed = 2; seed <= 10; ++seed) {
      EXPECT_EQ(is_named(simulated_run(problem, seed, wait).report), want) << to_string(wait) << " seed " << seed;
    }
  }
}

std::size_t count_in(const std::string& text, const std::string& pattern) {
  const std::regex one(pattern);
  return static_cast<std::size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), one), std::sregex_iterator()));
}

// Else a line could wait without ever having been dropped.
TEST_P(Waits, EveryOneThatStandsInTheSourceWasSeen) {
  std::ifstream file(std::string(RINGPROOF_SOURCE) + "/distributed/" + GetParam().source);
  std::ostringstream source;
  source << file.rdbuf();
  Seen all, of_ring;
  for (const Topology& topology : GetParam().topologies) {
    all.waits.merge(simulated_run(problem_on(topology, kMasks[0]), 1).seen.waits);
    SimulatedRun run = simulated_run(problem_on(topology, kMasks[1]), 1);
    all.waits.merge(run.seen.waits);
    all.exchanges.merge(run.seen.exchanges);
    all.computations.merge(run.seen.computations);
  }
  if (GetParam().source != "ring.cpp") {
    of_ring = simulated_run(problem_on({Schedule::kContiguous, 2}, kMasks[0]), 1).seen;
  }
  const auto only_here = [](const auto& every, const auto& theirs, const auto& keep) {
    return static_cast<std::size_t>(
        std::count_if(every.begin(), every.end(), [&](const auto& one) { return !theirs.contains(one) && keep(one); }));
  };
  const auto any = [](const auto&) { return true; };
  const auto of_host = [](const Wait& wait) { return wait.kind == Wait::Kind::kOfHost; };
  EXPECT_EQ(only_here(all.exchanges, of_ring.exchanges, any), count_in(source.str(), R"([.>]exchange\()"));
  EXPECT_EQ(only_here(all.computations, of_ring.computations, any), count_in(source.str(), R"([.>]compute\()"));
  EXPECT_EQ(only_here(all.waits, of_ring.waits, of_host), count_in(source.str(), R"([.>]wait\()"));
}

INSTANTIATE_TEST_SUITE_P(Algorithms, Waits, testing::ValuesIn(kAlgorithms),
                         [](const testing::TestParamInfo<Algorithm>& info) { return info.param.name; });

}  // namespace
}  // namespace ringproof

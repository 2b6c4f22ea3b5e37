// Attention over ranks on wires that commit one fault each, judged. With envelopes compared, every fault is an Error
// that names rank and step; without, what is wrong beyond the bound is rejected, and what is not is counted.
// RINGPROOF_FAULTY_RUNS is how many (1,000); the nightly tier runs 10,000.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <regex>

#include "distributed/candidates.h"
#include "distributed/communicator_faulty.h"
#include "distributed/communicator_simulated.h"
#include "distributed/communicator_threads.h"
#include "distributed/ring_candidate.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

// Of different precision: within a wider bound a fault may hide.
constexpr std::pair<const char*, const char*> kAsked[]{
    {"ring:flash_forward_fp32",
     "fwd/fp32/b1.hq2.hkv1.sq20.skv33.dqk8.dv6/causal_top_left/scale0.35/gauss:3/bhsd/zigzag4"},
    {"ring:double", "fwd/fp32/b1.hq2.hkv1.sq12.skv17.dqk8.dv6/full/scale0.35/gauss:4/bhsd/contiguous3"},
    {"ring:flash_forward_mma_bf16",
     "fwd/bf16/b1.hq2.hkv2.sq14.skv20.dqk8.dv8/causal_bottom_right/scale0.35/gauss:5/bhsd/striped5"},
    {"ring:double", "fwd/fp64/b1.hq4.hkv2.sq12.skv12.dqk4.dv6/full/scale0.5/gauss:6/bhsd/head_split3"},
    {"ring:flash_forward_fp32",
     "fwd/fp32/b1.hq4.hkv2.sq16.skv16.dqk4.dv4/causal_top_left/scale0.5/gauss:7/bhsd/hybrid2xzigzag2"},
    {"ring:double", "fwd/bf16/b1.hq2.hkv1.sq14.skv20.dqk8.dv8/full/scale0.35/gauss:8/bhsd/all_gather3"}};
constexpr std::int64_t kTransfers = 8;  // about what a rank sends on these

constexpr std::chrono::milliseconds kDeadline{20'000};

struct Workload {
  RingComposition composition;
  Reference reference;
  Got right;
};

struct Judged {
  Got got;
  CaseVerdict verdict;
};

Judged judged(const Candidate& candidate, const Reference& reference) {
  Buffers buffers;
  Got got = run(candidate, reference, buffers);
  const Dtype storage = reference.c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(storage, Direction::kForward).arithmetic, storage);
  CaseVerdict verdict = verify_case(compare(candidate.name, reference, arithmetic, got));
  return {std::move(got), std::move(verdict)};
}

std::vector<Workload> workloads() {
  std::vector<Workload> all;
  const std::vector<RingComposition> compositions = ring_compositions();
  for (const auto& [name, line] : kAsked) {
    const auto asked = std::find_if(compositions.begin(), compositions.end(),
                                    [name = name](const RingComposition& one) { return one.name == name; });
    Reference reference = prepare(parse_case(line), 1);
    Judged right = judged(ring_candidate(*asked), reference);
    EXPECT_EQ(right.verdict.outcome, Outcome::kAccepted) << line << right.verdict.reason;
    all.push_back({*asked, std::move(reference), std::move(right.got)});
  }
  return all;
}

struct Counts {
  int runs = 0, committed = 0, named = 0, lost = 0, rejected = 0, changed_within = 0, unchanged = 0;
};
using Table = std::array<Counts, kFaultKinds>;

struct FaultyRun {
  std::uint64_t seed;
  bool is_checked;

  Fault fault(const Workload& workload) const {
    return fault_of(seed, workload.reference.c.problem.topology.rank_count, kTransfers);
  }
  Launcher transport() const {
    if (seed % 4 == 3) return threads_launcher(kDeadline);
    return simulated_launcher({seed, kDeadline}, [](const Race& race) { ADD_FAILURE() << to_string(race); });
  }
};

void run_and_count(const FaultyRun& run, const Workload& workload, Table& table) {
  const Fault fault = run.fault(workload);
  const auto was_committed = std::make_shared<std::atomic<bool>>(false);
  RingComposition composition = workload.composition;
  composition.launcher = faulty_launcher(run.transport(), fault, run.is_checked, was_committed);
  const auto [got, verdict] = judged(ring_candidate(composition), workload.reference);
  SCOPED_TRACE("seed " + std::to_string(run.seed) + ", " + std::string(to_string(fault.kind)) + " on '" +
               verdict.case_line + "': " + verdict.reason);
  Counts& counts = table.at(static_cast<std::size_t>(fault.kind));
  ++counts.runs;
  counts.committed += *was_committed;
  const bool is_same = got.status == CallStatus::kReturned && got.out.bytes() == workload.right.out.bytes() &&
                       got.lse.bytes() == workload.right.lse.bytes();
  EXPECT_EQ(verdict.reason.find(" ms"), std::string::npos);  // nobody waited for a clock
  if (!*was_committed) {
    EXPECT_TRUE(is_same);
    EXPECT_EQ(verdict.outcome, Outcome::kAccepted);
    return;
  }
  const bool is_lost = verdict.outcome == Outcome::kInconclusive;
  if (is_lost) {
    EXPECT_TRUE(std::regex_search(verdict.reason, std::regex("rank [0-9]+, step [0-9]+")));
  }
  if (run.is_checked) {
    EXPECT_TRUE(is_lost);
    counts.named += is_lost;
    return;
  }
  counts.lost += is_lost;
  counts.rejected += verdict.outcome == Outcome::kRejected;
  const bool is_accepted = verdict.outcome == Outcome::kAccepted;
  EXPECT_TRUE(is_lost || is_accepted || verdict.outcome == Outcome::kRejected);
  counts.unchanged += is_accepted && is_same;
  counts.changed_within += is_accepted && !is_same;
}

int runs_asked() {
  const char* const asked = std::getenv("RINGPROOF_FAULTY_RUNS");
  return asked == nullptr ? 1'000 : std::atoi(asked);
}

Table run_all(bool is_checked) {
  const std::vector<Workload> all = workloads();
  Table table;
  for (int index = is_checked ? 0 : 1; index < runs_asked(); index += 2) {
    const auto seed = static_cast<std::uint64_t>(index / 2 + (is_checked ? 0 : 1'000'000));
    run_and_count({seed, is_checked}, all[seed / 4 % all.size()], table);
  }
  return table;
}

TEST(FaultyRuns, EveryFaultIsNamedWhereEnvelopesAreCompared) {
  const Table table = run_all(true);
  std::printf("%-12s %6s %10s %6s\n", "fault", "runs", "committed", "named");
  for (int kind = 1; kind < kFaultKinds; ++kind) {
    const Counts& counts = table.at(static_cast<std::size_t>(kind));
    std::printf("%-12s %6d %10d %6d\n", to_string(static_cast<FaultKind>(kind)).data(), counts.runs, counts.committed,
                counts.named);
    EXPECT_GT(counts.runs, 0);
    EXPECT_EQ(counts.named, counts.committed);
    EXPECT_EQ(counts.committed > 0, static_cast<FaultKind>(kind) != FaultKind::kDelay);
  }
}

TEST(FaultyRuns, WithoutEnvelopesWhatIsBeyondTheBoundIsRejectedAndTheRestCounted) {
  const Table table = run_all(false);
  Counts all;
  std::printf("%-12s %6s %10s %6s %9s %15s %10s\n", "fault", "runs", "committed", "lost", "rejected", "changed within",
              "unchanged");
  for (int kind = 1; kind < kFaultKinds; ++kind) {
    const Counts& counts = table.at(static_cast<std::size_t>(kind));
    std::printf("%-12s %6d %10d %6d %9d %15d %10d\n", to_string(static_cast<FaultKind>(kind)).data(), counts.runs,
                counts.committed, counts.lost, counts.rejected, counts.changed_within, counts.unchanged);
    EXPECT_EQ(counts.lost + counts.rejected + counts.changed_within + counts.unchanged, counts.committed);
    all.committed += counts.committed;
    all.changed_within += counts.changed_within;
    all.rejected += counts.rejected;
  }
  std::printf("changed the answer within the bound: %d of %d faults committed\n", all.changed_within, all.committed);
  EXPECT_GT(all.rejected, 0);
}

}  // namespace
}  // namespace ringproof

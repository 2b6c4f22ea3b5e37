// A ring hides the exchange of the next block behind the attention of this one. Rank r posts exchange s + 1 at
//
//     post(r, s + 1) = max(post(r, s) + C(r, s - 1), done(r, s))
//     done(r, s)     = max over its two neighbours n of  max(post(r, s), post(n, s)) + X(r, n)
//
// where C(r, s) is what its pairs of step s take at the speed of a GPU, and X a block's way over one link,
//
//     latency + payload / bandwidth  <=  X  <=  latency + (payload + headers) / bandwidth
//
// The ends differ by headers and envelopes alone, which the formulas of traffic leave out. Every step of every rank is
// held to that, from the times at which its neighbourhood really posted, so that an error of one step is seen there;
// and the same recurrence, run on from the first posts, bounds the whole. Where all C and X are alike, the whole is
// (P - 1) max(C, X) + C: transfers are hidden iff X <= C, which without latency, d_qk = d_v, causal and zigzag is
//
//     n / P >= (heads_kv / heads_q) b F / BW            (half of it where every rank sees every key)
//
// Simulated dates move by the simulator's own precision, once for each of the few events of a step.

#include "distributed/at_scale/step_times.h"

#include <algorithm>

#include "distributed/at_scale/files.h"
#include "distributed/communicator.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr double kEventsPerStep = 8;  // up to 3 local steps; latency and end of 2 transfers; 1 to spare

// K and V, each with a header and the envelopes of two messages at most.
constexpr double kHeaderBytesMax = 2 * (kTransferHeaderBytes + 2 * kSimulatedEnvelopeBytes);

struct Interval {
  double low, high;
};

class Formula {
 public:
  Formula(const Problem& problem, const Network& network, double flops)
      : problem_(problem), visibility_(problem), flops_(flops), ranks_(problem.topology.rank_count) {
    for (int rank = 0; rank < ranks_; ++rank) owned_.push_back(owned_tokens(problem.topology, rank, problem.seqlen_kv));
    const double tokens = static_cast<double>(owned_token_count(problem.topology, 0, problem.seqlen_kv));
    const double token_bytes = static_cast<double>(problem.batch * problem.heads_kv) *
                               static_cast<double>(problem.head_dim_qk + problem.head_dim_v) *
                               static_cast<double>(size_bytes(problem.dtype));
    for (int rank = 0; rank < ranks_; ++rank) {
      const Route route = network.route(rank, (rank + 1) % ranks_);
      const double low = route.latency_s + tokens * token_bytes / route.bytes_per_s;
      ways_.push_back({low, low + kHeaderBytesMax / route.bytes_per_s});
    }
    computing_.resize(static_cast<std::size_t>(ranks_) * static_cast<std::size_t>(ranks_));
    for (int rank = 0; rank < ranks_; ++rank) count_pairs(rank);
  }

  int ranks() const { return ranks_; }
  double computing_s(int rank, int step) const {
    return computing_[static_cast<std::size_t>(rank) * static_cast<std::size_t>(ranks_) +
                      static_cast<std::size_t>(step)];
  }
  const Interval& way_from(int rank) const { return ways_[static_cast<std::size_t>((rank + ranks_) % ranks_)]; }
  double slowest_way_low() const {
    double slowest = 0;
    for (const Interval& way : ways_) slowest = std::max(slowest, way.low);
    return slowest;
  }

  // When what follows step `step` may begin, from posts[rank] of exchange step + 1, whose ends are `low` and `high`.
  template <class Posts>
  Interval next(int rank, int step, const Posts& posts) const {
    const int before = (rank + ranks_ - 1) % ranks_, after = (rank + 1) % ranks_;
    const Interval own = posts(rank), left = posts(before), right = posts(after);
    const double computing = computing_s(rank, step);
    return {std::max({own.low + computing, std::max(own.low, left.low) + way_from(before).low,
                      std::max(own.low, right.low) + way_from(rank).low}),
            std::max({own.high + computing, std::max(own.high, left.high) + way_from(before).high,
                      std::max(own.high, right.high) + way_from(rank).high})};
  }

 private:
  // Whose rows see which keys is asked of the mask itself, not of the plan of the ring.
  void count_pairs(int rank) {
    std::vector<double> pairs(static_cast<std::size_t>(ranks_));
    for (const std::int64_t row : local_tokens_of(problem_.topology, rank, problem_.seqlen_q)) {
      for (const KeyRange& seen : visibility_.ranges(row)) {
        for (int block = 0; block < ranks_; ++block) {
          for (const TokenRun& run : owned_[static_cast<std::size_t>(block)]) {
            pairs[static_cast<std::size_t>(block)] += static_cast<double>(count_in(run, seen));
          }
        }
      }
    }
    const double seconds_per_pair = static_cast<double>(problem_.batch * problem_.heads_q) *
                                    flop_per_pair(problem_.head_dim_qk, problem_.head_dim_v) / flops_;
    for (int step = 0; step < ranks_; ++step) {
      const int block = (rank - step + ranks_) % ranks_;
      computing_[static_cast<std::size_t>(rank) * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(step)] =
          pairs[static_cast<std::size_t>(block)] * seconds_per_pair;
    }
  }

  static std::int64_t count_in(const TokenRun& run, const KeyRange& seen) {
    const auto below = [&](std::int64_t end) { return TokenRun{run.begin, std::min(run.end, end), run.step}.count(); };
    return below(seen.end) - below(seen.begin);
  }

  const Problem& problem_;
  Visibility visibility_;
  double flops_;
  int ranks_;
  std::vector<std::vector<TokenRun>> owned_;
  std::vector<Interval> ways_;  // from each rank to the next
  std::vector<double> computing_;
};

std::string milliseconds(double seconds) { return std::to_string(1e3 * seconds) + " ms"; }

// Rank by rank and step by step, each from what really happened before it.
void hold_each_step(const Formula& formula, std::span<const double> times_s, StepTimes& held) {
  const int ranks = formula.ranks();
  const auto time = [&](int rank, int at) {
    return times_s[static_cast<std::size_t>(rank) * static_cast<std::size_t>(ranks) + static_cast<std::size_t>(at)];
  };
  std::int64_t outside = 0;
  std::string first;
  for (int step = 0; step + 1 < ranks; ++step) {
    for (int rank = 0; rank < ranks; ++rank) {
      Interval want = formula.next(rank, step, [&](int of) { return Interval{time(of, step), time(of, step)}; });
      if (step + 2 == ranks) {  // the last time is that of the end, after the last local step
        want.low += formula.computing_s(rank, ranks - 1);
        want.high += formula.computing_s(rank, ranks - 1);
      }
      const double got = time(rank, step + 1), slack = kEventsPerStep * kSimulatedPrecision_s;
      ++held.steps_held;
      if (want.low - slack <= got && got <= want.high + slack) continue;
      if (outside++ == 0) {
        first = "rank " + std::to_string(rank) + ", step " + std::to_string(step) + " took " +
                milliseconds(got - time(rank, step)) + ", and the formula says " +
                milliseconds(want.low - time(rank, step)) + " to " + milliseconds(want.high - time(rank, step));
      }
    }
  }
  if (outside > 0) {
    held.faults.push_back(std::to_string(outside) +
                          " steps take another time than the overlap formula says, the first: " + first);
  }
}

// The recurrence alone, from the first posts on.
void hold_whole(const Formula& formula, std::span<const double> times_s, StepTimes& held) {
  const auto ranks = static_cast<std::size_t>(formula.ranks());
  std::vector<Interval> posts(ranks), next(ranks);
  double begin = times_s[0], end = 0, low = 0, high = 0;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    posts[rank] = {times_s[rank * ranks], times_s[rank * ranks]};
    begin = std::min(begin, posts[rank].low);
    end = std::max(end, times_s[rank * ranks + ranks - 1]);
  }
  for (int step = 0; step + 1 < formula.ranks(); ++step) {
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      next[rank] =
          formula.next(static_cast<int>(rank), step, [&](int of) { return posts[static_cast<std::size_t>(of)]; });
    }
    posts.swap(next);
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const double last = formula.computing_s(static_cast<int>(rank), formula.ranks() - 1);
    low = std::max(low, posts[rank].low + last);
    high = std::max(high, posts[rank].high + last);
  }
  const double slack = kEventsPerStep * kSimulatedPrecision_s * static_cast<double>(ranks);
  held.simulated_s = end - begin;
  held.low_s = low - begin - slack;
  held.high_s = high - begin + slack;
  if (!(held.low_s <= held.simulated_s && held.simulated_s <= held.high_s)) {
    held.faults.push_back("the ring took " + milliseconds(held.simulated_s) + ", and the overlap formula says " +
                          milliseconds(held.low_s) + " to " + milliseconds(held.high_s));
  }
}

}  // namespace

StepTimes hold_step_times(const Problem& problem, const Network& network, double flops,
                          std::span<const double> times_s) {
  const int ranks = problem.topology.rank_count;
  assert_that(ranks > 1 && times_s.size() == static_cast<std::size_t>(ranks) * static_cast<std::size_t>(ranks),
              "every rank has rank_count times");
  assert_that(problem.seqlen_q == problem.seqlen_kv && problem.seqlen_kv % (2 * ranks) == 0,
              "shards have equal length");
  const Formula formula(problem, network, flops);
  StepTimes held;
  for (int rank = 0; rank < ranks; ++rank) {
    double computing = 0;
    for (int step = 0; step < ranks; ++step) computing += formula.computing_s(rank, step);
    held.computing_s = std::max(held.computing_s, computing);
  }
  held.transfer_low_s = formula.slowest_way_low();
  double bandwidth = network.route(0, 1).bytes_per_s;
  for (int rank = 1; rank < ranks; ++rank) {
    bandwidth = std::min(bandwidth, network.route(rank, (rank + 1) % ranks).bytes_per_s);
  }
  const double share_seen = problem.mask.kind == MaskKind::kFull ? 0.5 : 1;
  held.tokens_to_hide_transfers = share_seen * static_cast<double>(problem.heads_kv) /
                                  static_cast<double>(problem.heads_q) *
                                  static_cast<double>(size_bytes(problem.dtype)) * flops / bandwidth;
  hold_each_step(formula, times_s, held);
  hold_whole(formula, times_s, held);
  return held;
}

}  // namespace ringproof

// Waiting stands before the computation that had to wait: it is added to the step of the next one, or of the last.

#include "distributed/communicator_measuring.h"

#include <algorithm>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

double milliseconds_between(std::chrono::steady_clock::time_point begin, std::chrono::steady_clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

}  // namespace

template <class Call>
auto MeasuringCommunicator::transport(const Call& call) {
  const auto begin = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    computed_ms_ = 0;
  }
  struct AddWaiting {
    MeasuringCommunicator& self;
    Clock::time_point begin;
    ~AddWaiting() {
      const std::lock_guard lock(self.mutex_);
      self.waited_ms_ += std::max(0.0, milliseconds_between(begin, Clock::now()) - self.computed_ms_);
    }
  };
  const AddWaiting add_waiting{*this, begin};
  return call();
}

StepTime& MeasuringCommunicator::time_of(int step, Clock::time_point begin) {
  if (steps_.empty() || steps_.back().step != step) {
    steps_.push_back({step, std::max(0.0, milliseconds_between(start_, begin) - waited_ms_), 0, 0, 0, 0});
  }
  steps_.back().wait_ms += waited_ms_;
  waited_ms_ = 0;
  return steps_.back();
}

std::shared_ptr<std::byte> MeasuringCommunicator::allocate(std::size_t bytes) {
  return memory_.counted(inner_.allocate(bytes), bytes);
}

Event MeasuringCommunicator::exchange(const Exchange& exchange, std::span<const Event> after) {
  {
    const std::lock_guard lock(mutex_);
    ++exchanges_;
    for (const Send& send : exchange.sends) bytes_sent_ += static_cast<std::int64_t>(send.bytes.size());
  }
  return transport([&] { return inner_.exchange(exchange, after); });
}

Event MeasuringCommunicator::compute(const Compute& compute, std::span<const Event> after) {
  Compute measured = compute;
  const auto called = Clock::now();
  measured.run = [this, called, name = compute.name, step = compute.step, run = compute.run](void* stream) {
    const auto begin = Clock::now();
    {
      const std::lock_guard lock(mutex_);
      is_on_own_thread_ = is_on_own_thread_ && std::this_thread::get_id() == owner_;
      waited_ms_ += milliseconds_between(called, begin);
    }
    run(stream);
    const std::lock_guard lock(mutex_);
    const double spent_ms = milliseconds_between(begin, Clock::now());
    computed_ms_ += spent_ms;
    StepTime& time = time_of(step, begin);
    (name == "local step" ? time.compute_ms : name == "merge" ? time.merge_ms : time.other_ms) += spent_ms;
  };
  return inner_.compute(measured, after);
}

void MeasuringCommunicator::wait(Event event) {
  transport([&] {
    inner_.wait(event);
    return 0;
  });
}

void MeasuringCommunicator::barrier() {
  transport([&] {
    inner_.barrier();
    return 0;
  });
}

LocalStep MeasuringCommunicator::counting(const LocalStep& step) {
  LocalStep counting = step;
  counting.run = [this, &step](const LocalProblem& problem, const TensorView& q, const TensorView& k,
                               const TensorView& v, const TensorView& out, const TensorView& lse, void* stream) {
    const std::int64_t pairs = visible_pairs(problem);
    {
      const std::lock_guard lock(mutex_);
      pairs_ += pairs;
    }
    step.run(problem, q, k, v, out, lse, stream);
  };
  return counting;
}

void MeasuringCommunicator::report(RankReport& report) const {
  const std::lock_guard lock(mutex_);
  report.bytes_sent.got = bytes_sent_;
  report.exchanges.got = exchanges_;
  report.memory_bytes_peak.got = memory_.bytes_peak();
  report.pairs.got = pairs_;
  if (!is_on_own_thread_) return;
  report.steps = steps_;
  if (!report.steps.empty()) report.steps.back().wait_ms += waited_ms_;
}

std::int64_t visible_pairs(const LocalProblem& problem) {
  std::int64_t pairs = 0;
  for (std::int64_t row = 0; row < problem.seqlen_q; ++row) {
    const KeyRange keys = visible_keys(problem.band, row, problem.seqlen_kv);
    if (problem.block_mask == nullptr) {
      pairs += keys.count();
      continue;
    }
    const std::int64_t tiles = (problem.seqlen_kv + problem.block_kv - 1) / problem.block_kv;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      if (problem.block_mask[row / problem.block_q * tiles + tile] == 0) continue;
      const std::int64_t begin = std::max(keys.begin, tile * problem.block_kv);
      pairs += std::max<std::int64_t>(0, std::min(keys.end, (tile + 1) * problem.block_kv) - begin);
    }
  }
  return pairs * problem.batch * problem.heads_q;
}

}  // namespace ringproof

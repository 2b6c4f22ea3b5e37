#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/memory_count.h"
#include "reference/spec/local_step.h"
#include "reference/spec/rank_report.h"

namespace ringproof {

/// Passes everything on to another Communicator and measures what this rank sends, allocates and waits for, from its
/// own making on. Times are those of the rank's own thread: they mean something where a transport computes on it.
class MeasuringCommunicator final : public Communicator {
 public:
  /// `inner` outlives this.
  explicit MeasuringCommunicator(Communicator& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    inner_.name_memory(memory, name);
  }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override;
  Event compute(const Compute& compute, std::span<const Event> after) override;
  void wait(Event event) override;
  void barrier() override;
  void withdraw() noexcept override { inner_.withdraw(); }

  /// A local step that counts the pairs it is given here. `step` and this outlive it.
  LocalStep counting(const LocalStep& step);

  /// Into `got` of every tally and the times; `want` stays as it is.
  void report(RankReport& report) const;

 private:
  using Clock = std::chrono::steady_clock;

  // Runs a call of the transport; what of it is no computation counts as waiting.
  template <class Call>
  auto transport(const Call& call);
  StepTime& time_of(int step, Clock::time_point begin);

  Communicator& inner_;
  MemoryCount memory_;
  mutable std::mutex mutex_;  // a transport may compute on another thread
  std::int64_t bytes_sent_ = 0, exchanges_ = 0, pairs_ = 0;
  std::thread::id owner_ = std::this_thread::get_id();
  bool is_on_own_thread_ = true;  // every computation so far
  Clock::time_point start_ = Clock::now();
  double waited_ms_ = 0;    // since the last computation
  double computed_ms_ = 0;  // within the present call
  std::vector<StepTime> steps_;
};

/// Pairs of a local problem that see each other, over batch and query heads.
std::int64_t visible_pairs(const LocalProblem& problem);

}  // namespace ringproof

// Rings that are wrong in one way, named by the variable RINGPROOF_WRONG of the environment: what must be refused at
// scale.

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "distributed/at_scale/ranks.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Passes everything on, and posts an exchange only when somebody waits for it.
class LateCommunicator final : public Communicator {
 public:
  explicit LateCommunicator(Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    late_ = exchange;
    is_late_ = true;
    return {++count_};
  }
  Event compute(const Compute& compute, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    return inner_.compute(compute, {});
  }
  void wait(Event event) override {
    if (event.id != count_ || !std::exchange(is_late_, false)) return;
    inner_.wait(inner_.exchange(late_, {}));
  }
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override { inner_.withdraw(); }

 private:
  Communicator& inner_;
  Exchange late_;
  bool is_late_ = false;
  std::int64_t count_ = 0;
};

// What rank 5 does otherwise at step 7.
RingStep plan_with_a_block_unread(const Problem& problem, int rank, int step) {
  RingStep plan = ring_step(problem, rank, step);
  if (rank == 5 && step == 7) plan.pieces.clear();
  return plan;
}

RingStep plan_with_a_wrong_block(const Problem& problem, int rank, int step) {
  RingStep plan = ring_step(problem, rank, step);
  if (rank == 5 && step == 7) plan.block = (plan.block + 1) % problem.topology.rank_count;
  return plan;
}

RingStep plan_that_throws(const Problem& problem, int rank, int step) {
  if (rank == 5 && step == 7) throw Error("rank 5 throws at step 7");
  return ring_step(problem, rank, step);
}

void merge_of_no_weight(const TensorView& out, const TensorView& lse, const TensorView& out_b,
                        const TensorView& lse_b) {
  const double kept = lse.shape[2] > 0 ? lse.load(0, 0, 0, 0) : 0;
  merge_partial(out, lse, out_b, lse_b);
  if (lse.shape[2] > 0) lse.store(0, 0, 0, 0, kept);
}

// Rank 5 leaves its peers alone.
class SilentCommunicator final : public Communicator {
 public:
  explicit SilentCommunicator(Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    return rank() == 5 ? Event{} : inner_.exchange(exchange, after);
  }
  Event compute(const Compute& compute, std::span<const Event> after) override {
    return inner_.compute(compute, after);
  }
  void wait(Event event) override { inner_.wait(event); }
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override { inner_.withdraw(); }

 private:
  Communicator& inner_;
};

RankParts wrong_parts(const std::string& wrong) {
  RankParts parts;
  if (wrong == "block_unread") parts.ring.plan = plan_with_a_block_unread;
  if (wrong == "wrong_block") parts.ring.plan = plan_with_a_wrong_block;
  if (wrong == "throws") parts.ring.plan = plan_that_throws;
  if (wrong == "merge_of_no_weight") parts.ring.merge = merge_of_no_weight;
  if (wrong == "never_sends") {
    parts.wrap = [](Communicator& inner) { return std::make_unique<SilentCommunicator>(inner); };
  }
  if (wrong == "no_overlap") {
    parts.wrap = [](Communicator& inner) { return std::make_unique<LateCommunicator>(inner); };
  }
  return parts;
}

}  // namespace
}  // namespace ringproof

extern "C" __attribute__((visibility("default"))) int main(int argc, char** argv) {
  const char* const wrong = std::getenv("RINGPROOF_WRONG");
  return ringproof::run_simulated_rank(argc, argv, ringproof::wrong_parts(wrong == nullptr ? "" : wrong));
}

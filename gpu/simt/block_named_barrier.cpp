// Named barriers (PTX barrier.sync and barrier.arrive): a round is complete when as many threads as its count says have
// come, whichever they are; those who sync wait for that, those who arrive go on at once.

#include <string>

#include "gpu/simt/block.h"

namespace ringproof::simt::host {

void Block::require_possible_barrier(int id, int thread_count, const Site& site) {
  const auto wrong = [&](const std::string& why) {
    fail(ReportKind::kWrongNamedBarrier, "the named barrier at " + to_string(site) + " " + why);
  };
  if (id < 1 || id > 15) wrong("has id " + std::to_string(id) + "; 1 to 15 exist, and 0 is __syncthreads");
  const std::string count = "counts " + std::to_string(thread_count) + " threads, ";
  if (thread_count <= 0 || thread_count % 32 != 0) wrong(count + "which is no multiple of 32");
  if (thread_count > static_cast<int>(threads_.size())) {
    wrong(count + "more than the " + std::to_string(threads_.size()) + " of the block");
  }
}

void Block::named_barrier(int id, int thread_count, bool waits, const Site& site) {
  if (is_ignored(site)) return;
  require_possible_barrier(id, thread_count, site);
  Thread& thread = *running_;
  NamedBarrier& barrier = named_barriers_[static_cast<std::size_t>(id)];
  if (barrier.arrived_count == 0) {
    barrier.thread_count = thread_count;
    barrier.first = site;
  } else if (barrier.thread_count != thread_count) {
    fail(ReportKind::kWrongNamedBarrier,
         "named barrier " + std::to_string(id) + " counts " + std::to_string(barrier.thread_count) + " threads at " +
             to_string(barrier.first) + " and " + std::to_string(thread_count) + " at " + to_string(site));
  }
  const auto number = static_cast<std::size_t>(thread.number);
  if (barrier.arrived[number]) {
    fail(ReportKind::kWrongNamedBarrier,
         "thread " + std::to_string(thread.number) + " comes to named barrier " + std::to_string(id) + " at " +
             to_string(site) + " a second time before the others (first at " + to_string(barrier.first) + ")");
  }
  barrier.arrived[number] = true;
  ++barrier.arrived_count;
  Observer* const observer = launch_.options.observer;
  if (observer != nullptr) observer->named_barrier_reached(thread.number, id, waits, site);
  if (waits) {
    thread.state = State::kAtNamedBarrier;
    thread.site = site;
    barrier.waiting.push_back(thread.number);
  }
  if (barrier.arrived_count == barrier.thread_count) {
    if (observer != nullptr) observer->named_barrier_released(id, barrier.waiting);
    for (const int waiting : barrier.waiting) make_ready(threads_[static_cast<std::size_t>(waiting)]);
    barrier.arrived_count = 0;
    barrier.arrived.reset();
    barrier.waiting.clear();
  }
  if (waits) wait_for_turn();
}

void Block::require_no_barrier_half_full() {
  for (std::size_t id = 1; id < named_barriers_.size(); ++id) {
    const NamedBarrier& barrier = named_barriers_[id];
    if (barrier.arrived_count == 0) continue;
    fail(ReportKind::kWrongNamedBarrier, "the block ends with " + std::to_string(barrier.arrived_count) + " of " +
                                             std::to_string(barrier.thread_count) + " threads at named barrier " +
                                             std::to_string(id) + ", the first at " + to_string(barrier.first));
  }
}

}  // namespace ringproof::simt::host

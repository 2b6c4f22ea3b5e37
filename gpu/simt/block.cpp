// A block is a set of fibers and three ways to wait: for the other threads of the block (__syncthreads), for the lanes
// of a mask (warp operations), or for one's turn. A thread that waits hands over to the next runnable one; the last to
// arrive does the work of the operation for all and makes the others runnable. If nobody is runnable and somebody
// waits, that is a deadlock, found exactly and at once.
//
// Fibers are started anew for each block and never move to another OS thread while they run, so code compiled with
// cached thread_local addresses is safe, and a block that is stopped leaves nothing behind.

#include "gpu/simt/block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <new>

#include "gpu/simt/host_api.h"
#include "reference/spec/error.h"

namespace ringproof::simt::host {
namespace {

constexpr int kLanesPerWarp = 32;

bool names_lane(std::uint32_t mask, int lane) { return ((mask >> lane) & 1u) != 0; }

bool is_vote(WarpOperation operation) {
  return operation == WarpOperation::kBallot || operation == WarpOperation::kAny || operation == WarpOperation::kAll;
}

const char* name(WarpOperation operation) {
  switch (operation) {
    case WarpOperation::kSync: return "__syncwarp";
    case WarpOperation::kShuffle: return "__shfl_sync";
    case WarpOperation::kShuffleXor: return "__shfl_xor_sync";
    case WarpOperation::kShuffleUp: return "__shfl_up_sync";
    case WarpOperation::kShuffleDown: return "__shfl_down_sync";
    case WarpOperation::kBallot: return "__ballot_sync";
    case WarpOperation::kAny: return "__any_sync";
    case WarpOperation::kAll: return "__all_sync";
    case WarpOperation::kMmaBf16: return "mma_m16n8k16<bf16>";
    case WarpOperation::kMmaFp16: return "mma_m16n8k16<fp16>";
    case WarpOperation::kMmaF64: return "mma_m8n8k4_f64";
    case WarpOperation::kLdmatrixX2: return "ldmatrix_x2";
    case WarpOperation::kLdmatrixX2Trans: return "ldmatrix_x2_trans";
    case WarpOperation::kLdmatrixX4: return "ldmatrix_x4";
    case WarpOperation::kLdmatrixX4Trans: return "ldmatrix_x4_trans";
  }
  return "?";
}

std::string thread_name(int number) { return "thread " + std::to_string(number); }

/// Takes a thread that must not go on out of the kernel, so that what it holds is freed.
struct Stop {};

/// The block this OS thread is running; null outside of kernels.
constinit thread_local Block* block_running = nullptr;

Block& running_block() {
  if (block_running == nullptr)
    assert_that(false, "CUDA's words mean something only inside a kernel that launch() runs");
  return *block_running;
}

/// The running block for the time of one call out of a kernel. The last thing done is to go back into the kernel's
/// code, on whichever fiber that is.
class Call {
 public:
  Call() : block_(running_block()) { thread_in_kernel_code = -1; }
  ~Call() { thread_in_kernel_code = block_.thread_number(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  Block* operator->() const { return &block_; }

 private:
  Block& block_;
};

}  // namespace

constinit thread_local int thread_in_kernel_code = -1;
constinit thread_local uint3 threadIdx{}, blockIdx{};
constinit thread_local dim3 blockDim{}, gridDim{};

bool inside_kernel() { return block_running != nullptr; }
unsigned char* shared_memory() { return running_block().shared_memory(); }
int lane() { return running_block().lane(); }
int thread_number() { return running_block().thread_number(); }
std::span<const std::byte> running_stack() { return running_block().running_stack(); }
MmaNumerics mma_numerics() { return running_block().options().mma; }
void barrier(const Site& site) { Call()->barrier(site); }
std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source,
                             const Site& site) {
  return Call()->warp_operation(operation, mask, value, source, site);
}
void warp_collective(WarpOperation operation, void (*run)(void* const*), void* lane_data, const Site& site) {
  Call()->warp_collective(operation, run, lane_data, site);
}
void named_barrier(int id, int thread_count, bool waits, const Site& site) {
  Call()->named_barrier(id, thread_count, waits, site);
}
void prepare_matrix_row(const void* row, int row_count, const Site& site) {
  Call()->prepare_matrix_row(row, row_count, site);
}
void start_async_copy(void* shared, const void* global, std::size_t bytes, const Site& site) {
  Call()->start_async_copy(
      {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), bytes, site});
}
void commit_async_copies(const Site& site) { Call()->commit_async_copies(site); }
void wait_for_async_copies(int groups_left, const Site& site) { Call()->wait_for_async_copies(groups_left, site); }
void prepare_atomic(const void* address, std::size_t bytes, const Site& site) {
  const Call block;
  block->require_aligned(address, bytes, "the address of an atomic", site);
  block->note_access(address, bytes, Access::kAtomic, site);
}

int ReadySet::take_at_or_after(int thread) {
  std::uint64_t above = ~std::uint64_t{0} << (thread % 64);
  for (std::size_t w = word_of(thread); w < words_.size(); ++w, above = ~std::uint64_t{0}) {
    const std::uint64_t candidates = words_[w] & above;
    if (candidates == 0) continue;
    const int bit = std::countr_zero(candidates);
    words_[w] &= ~(std::uint64_t{1} << bit);
    return static_cast<int>(w) * 64 + bit;
  }
  return -1;
}

int ReadySet::take_highest() {
  for (std::size_t w = words_.size(); w-- > 0;) {
    if (words_[w] == 0) continue;
    const int bit = 63 - std::countl_zero(words_[w]);
    words_[w] &= ~(std::uint64_t{1} << bit);
    return static_cast<int>(w) * 64 + bit;
  }
  return -1;
}

void Block::prepare(const Launch& launch) {
  launch_ = launch;
  const dim3 block = launch.block;
  const std::size_t thread_count = std::size_t{block.x} * block.y * block.z;
  while (stacks_.size() < thread_count) stacks_.emplace_back();
  shared_memory_.resize(launch.smem_bytes);
  threads_.assign(thread_count, Thread{});
  named_barriers_.fill({});
  warps_.assign((thread_count + kLanesPerWarp - 1) / kLanesPerWarp, Warp{});
  for (std::size_t i = 0; i < thread_count; ++i) {
    Thread& thread = threads_[i];
    thread.number = static_cast<int>(i);
    thread.warp = thread.number / kLanesPerWarp;
    thread.lane = thread.number % kLanesPerWarp;
    thread.index = {static_cast<unsigned>(i % block.x), static_cast<unsigned>(i / block.x % block.y),
                    static_cast<unsigned>(i / block.x / block.y)};
    warps_[static_cast<std::size_t>(thread.warp)].existing |= 1u << thread.lane;
  }
  blockDim = launch.block;
  gridDim = launch.grid;
}

std::optional<Report> Block::run(uint3 block_index, std::uint64_t block_number, std::uint64_t seed) {
  block_index_ = block_index;
  blockIdx = block_index;
  random_.seed(seed);
  report_.reset();
  alive_ = static_cast<int>(threads_.size());
  at_barrier_ = 0;
  shared_memory_.poison();
  for (Warp& warp : warps_) warp.alive = warp.existing;
  ready_.clear();
  for (Thread& thread : threads_) {
    thread.context = stacks_[static_cast<std::size_t>(thread.number)].start(&Block::enter, thread.number);
    make_ready(thread);
  }
  Observer* const observer = launch_.options.observer;
  if (observer != nullptr) {
    observer->block_started(
        {block_number, alive_, shared_memory_.data(), shared_memory_.size(), SharedMemory::kGuardBytes});
  }
  block_running = this;
  running_ = &take_next();
  show(*running_);
  switch_context(worker_, running_->context);
  thread_in_kernel_code = -1;
  block_running = nullptr;
  if (observer != nullptr) observer->block_ended();
  return report_;
}

void Block::enter() {
  Block& block = *block_running;
  try {
    thread_in_kernel_code = block.thread_number();
    block.launch_.run_thread(block.launch_.body);
    thread_in_kernel_code = -1;
    block.finish_thread();
  } catch (const Stop&) {
  } catch (const std::exception& exception) {
    block.report_exception(exception.what());
  } catch (...) {
    block.report_exception("something that is no std::exception");
  }
  leave_context(block.running_->context, block.worker_);
}

void Block::report_exception(const std::string& what) {
  report_ = Report{ReportKind::kException, place() + thread_name(running_->number) + " of the kernel throws: " + what};
}

void Block::finish_thread() {
  Thread& thread = *running_;
  if (!thread.copies.empty()) {
    fail(ReportKind::kUnwaitedCopy, thread_name(thread.number) + " returns with " +
                                        std::to_string(thread.copies.count()) +
                                        " cp.async copies that it never waited for, the first started at " +
                                        to_string(thread.copies.oldest().site));
  }
  thread.state = State::kDone;
  --alive_;
  Warp& warp = warps_[static_cast<std::size_t>(thread.warp)];
  warp.alive &= ~(1u << thread.lane);
  for (int i = 0; i < warp.pending_count; ++i) {
    const Pending& pending = warp.pending[static_cast<std::size_t>(i)];
    if (!names_lane(pending.mask, thread.lane)) continue;
    fail(ReportKind::kExitedLane,
         "lane " + std::to_string(thread.lane) + " returns while lanes wait for it in the " + describe(warp, pending));
  }
  if (alive_ == 0) {
    require_no_barrier_half_full();
    require_nothing_beside_shared();
    leave_context(thread.context, worker_);
  }
  if (at_barrier_ == alive_) release_barrier();
  running_ = &take_next();
  show(*running_);
  leave_context(thread.context, running_->context);
}

std::string Block::place() const {
  return "block (" + std::to_string(block_index_.x) + ", " + std::to_string(block_index_.y) + ", " +
         std::to_string(block_index_.z) + "): ";
}

std::string Block::describe(const Warp& warp, const Pending& pending) const {
  const auto warp_number = static_cast<std::size_t>(&warp - warps_.data());
  const auto waiting = warp_number * kLanesPerWarp + static_cast<std::size_t>(std::countr_zero(pending.arrived));
  return std::string(name(pending.operation)) + " at " + to_string(threads_[waiting].site);
}

void Block::fail(ReportKind kind, const std::string& text) {
  report_ = Report{kind, place() + text};
  throw Stop{};
}

void Block::fail_deadlocked() {
  struct Place {
    const Thread* first;
    int count;
  };
  std::vector<Place> places;
  for (const Thread& thread : threads_) {
    if (thread.state == State::kReady || thread.state == State::kDone) continue;
    const auto same = [&](const Place& p) {
      return p.first->state == thread.state && same_place(p.first->site, thread.site);
    };
    const auto place = std::find_if(places.begin(), places.end(), same);
    if (place != places.end()) {
      ++place->count;
    } else {
      places.push_back({&thread, 1});
    }
  }
  std::string text = std::to_string(alive_) + " threads wait and none can run:";
  for (const Place& place : places) {
    const char* const where = place.first->state == State::kAtBarrier        ? "the __syncthreads"
                              : place.first->state == State::kAtNamedBarrier ? "the named barrier"
                                                                             : "the warp operation";
    text += (&place == places.data() ? " " : "; ") + std::to_string(place.count) + " (the first is " +
            thread_name(place.first->number) + ") in " + where + " at " + to_string(place.first->site);
  }
  fail(ReportKind::kDeadlock, text);
}

void Block::make_ready(Thread& thread) {
  thread.state = State::kReady;
  ready_.insert(thread.number);
}

Block::Thread& Block::take_next() {
  int number = -1;
  switch (launch_.options.order) {
    case Order::kForward: number = ready_.take_lowest(); break;
    case Order::kReverse: number = ready_.take_highest(); break;
    case Order::kRandom:
      number = ready_.take_at_or_after(static_cast<int>(random_() % threads_.size()));
      if (number < 0) number = ready_.take_lowest();
      break;
  }
  if (number < 0) fail_deadlocked();
  return threads_[static_cast<std::size_t>(number)];
}

void Block::show(const Thread& thread) const { threadIdx = thread.index; }

void Block::wait_for_turn() {
  Thread& self = *running_;
  Thread& next = take_next();
  if (&next == &self) return;
  running_ = &next;
  show(next);
  switch_context(self.context, next.context);
}

void Block::barrier(const Site& site) {
  if (is_ignored(site)) return;
  running_->state = State::kAtBarrier;
  running_->site = site;
  if (++at_barrier_ == alive_) release_barrier();
  wait_for_turn();
}

void Block::release_barrier() {
  const Thread* first = nullptr;
  for (const Thread& thread : threads_) {
    if (thread.state != State::kAtBarrier) continue;
    if (first == nullptr) first = &thread;
    if (same_place(thread.site, first->site)) continue;
    fail(ReportKind::kDivergentBarrier, thread_name(first->number) + " waits at the __syncthreads at " +
                                            to_string(first->site) + ", " + thread_name(thread.number) + " at " +
                                            to_string(thread.site));
  }
  if (at_barrier_ < static_cast<int>(threads_.size())) {
    fail(ReportKind::kPartialBarrier, std::to_string(at_barrier_) + " of " + std::to_string(threads_.size()) +
                                          " threads reach the __syncthreads at " + to_string(first->site) +
                                          ", the others have returned");
  }
  if (Observer* const observer = launch_.options.observer) observer->barrier_released(first->site);
  at_barrier_ = 0;
  for (Thread& thread : threads_) make_ready(thread);
}

Block::Pending& Block::join(Warp& warp, WarpOperation operation, std::uint32_t mask, const Site& site) {
  const Thread& thread = *running_;
  if (warp.pending_count == 1 && names_lane(mask, thread.lane)) {
    Pending& only = warp.pending[0];
    if (only.mask == mask && only.operation == operation) return only;
  }
  const auto call = [&] { return std::string(name(operation)) + " at " + to_string(site); };
  if (!names_lane(mask, thread.lane)) {
    fail(ReportKind::kWrongMask,
         "the mask of the " + call() + " does not name lane " + std::to_string(thread.lane) + ", which calls it");
  }
  if ((mask & ~warp.alive) != 0) {
    fail(ReportKind::kExitedLane, "the mask of the " + call() + " names lane " +
                                      std::to_string(std::countr_zero(mask & ~warp.alive)) +
                                      ", which has returned or never was");
  }
  Pending* own = nullptr;
  for (int i = 0; i < warp.pending_count; ++i) {
    Pending& pending = warp.pending[static_cast<std::size_t>(i)];
    if (pending.mask == mask && pending.operation == operation) {
      own = &pending;
      continue;
    }
    // Those who wait there wait for this lane too; do they and this lane wait for one another?
    if (!names_lane(pending.mask, thread.lane) || (mask & pending.arrived) == 0) continue;
    const std::string both = call() + " and in the " + describe(warp, pending);
    if (pending.mask == mask) {
      fail(ReportKind::kDifferentOperations, "lanes of one mask wait in the " + both);
    }
    fail(ReportKind::kWrongMask, "lanes wait for one another in the " + both + ", whose masks overlap but differ");
  }
  if (own == nullptr) {
    own = &warp.pending[static_cast<std::size_t>(warp.pending_count++)];
    *own = {mask, 0, operation};
  }
  return *own;
}

std::uint64_t Block::warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source,
                                    const Site& site) {
  if (operation == WarpOperation::kSync && is_ignored(site)) return 0;
  Thread& thread = *running_;
  Warp& warp = warps_[static_cast<std::size_t>(thread.warp)];
  // Lanes that the last warp of the block never had are not missing: kernels name all 32 as a matter of course.
  Pending& pending = join(warp, operation, mask & warp.existing, site);
  thread.site = site;
  thread.value = value;
  thread.source = source;
  pending.arrived |= 1u << thread.lane;
  if (pending.arrived != pending.mask) {
    thread.state = State::kInWarpOperation;
    wait_for_turn();
    return thread.result;
  }
  complete(warp, pending);
  wait_unless_last_may_go_on();
  return thread.result;
}

void Block::wait_unless_last_may_go_on() {
  // The last to arrive could simply go on; a random order must be free to let others go first.
  if (launch_.options.order != Order::kRandom) return;
  make_ready(*running_);
  wait_for_turn();
}

void Block::warp_collective(WarpOperation operation, void (*run)(void* const*), void* lane_data, const Site& site) {
  Thread& thread = *running_;
  Warp& warp = warps_[static_cast<std::size_t>(thread.warp)];
  Pending& pending = join(warp, operation, ~0u, site);
  Thread* const lanes = running_ - thread.lane;
  if (pending.arrived != 0) {
    const Thread& first = lanes[std::countr_zero(pending.arrived)];
    if (!same_place(first.site, site)) {
      fail(ReportKind::kDifferentOperations, "lanes of one warp come to the " + std::string(name(operation)) + " at " +
                                                 to_string(site) + " and at " + to_string(first.site));
    }
  }
  thread.site = site;
  thread.lane_data = lane_data;
  pending.arrived |= 1u << thread.lane;
  if (pending.arrived != ~0u) {
    thread.state = State::kInWarpOperation;
    wait_for_turn();
    return;
  }
  std::array<void*, kLanesPerWarp> data;
  for (int i = 0; i < kLanesPerWarp; ++i) data[static_cast<std::size_t>(i)] = lanes[i].lane_data;
  run(data.data());
  if (Observer* const observer = launch_.options.observer) observer->warp_exchanged(thread.warp, ~0u, site);
  for (int i = 0; i < kLanesPerWarp; ++i) lanes[i].state = State::kReady;
  ready_.insert_lanes(thread.warp, ~(1u << thread.lane));
  pending = warp.pending[static_cast<std::size_t>(--warp.pending_count)];
  wait_unless_last_may_go_on();
}

void Block::complete(Warp& warp, Pending& pending) {
  Thread* const lanes = running_ - running_->lane;
  std::uint64_t votes = 0;
  if (is_vote(pending.operation)) {
    for (std::uint32_t rest = pending.mask; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      if (lanes[lane].value != 0) votes |= std::uint64_t{1} << lane;
    }
  }
  for (std::uint32_t rest = pending.mask; rest != 0; rest &= rest - 1) {
    Thread& thread = lanes[std::countr_zero(rest)];
    if (is_vote(pending.operation)) {
      thread.result = votes;
    } else if (pending.operation != WarpOperation::kSync) {
      if (!names_lane(pending.mask, thread.source)) {
        fail(ReportKind::kInactiveSource, "lane " + std::to_string(thread.lane) + " reads lane " +
                                              std::to_string(thread.source) + " in the " + name(pending.operation) +
                                              " at " + to_string(thread.site) + ", whose mask does not name it");
      }
      thread.result = lanes[thread.source].value;
    }
    if (&thread != running_) make_ready(thread);
  }
  if (Observer* const observer = launch_.options.observer) {
    const bool orders = pending.operation == WarpOperation::kSync;
    (observer->*(orders ? &Observer::warp_synced : &Observer::warp_exchanged))(running_->warp, pending.mask,
                                                                               running_->site);
  }
  pending = warp.pending[static_cast<std::size_t>(--warp.pending_count)];
}

}  // namespace ringproof::simt::host

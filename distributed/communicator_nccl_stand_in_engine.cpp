// A stream is a queue of operations, an event the operation that last recorded it, a group of transfers one operation
// that ends when all of its transfers have. An operation may begin when it is the first of its stream and, if it waits
// for an event, when that has happened. Which of those that may is executed is drawn: every stream has a weight, drawn
// anew now and then, and the heaviest goes on, so that one stream may be left behind for long.
//
// Vector clocks (Mattern 1989; Fidge 1988): a component per stream and per thread of a rank. An operation takes over
// the clock its thread had when it was queued, that of the operation before it on the stream, that of the event it
// waits for and, where it receives, that of the send. Two accesses are ordered when the later one's clock has reached
// the earlier one's own component.

#include "distributed/communicator_nccl_stand_in_engine.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "reference/spec/error.h"

namespace ringproof::stand_in {
namespace {

constexpr std::size_t kEagerBytesMax = 4096;
constexpr std::uint64_t kStepsMax = 8;  // between two questions

thread_local CUstream_st* stream_of_task = nullptr;

std::string buffer_words(std::uintptr_t begin, std::uintptr_t end) {
  const auto& buffers = state().buffers;
  auto at = buffers.upper_bound(begin);
  char text[96];
  if (at != buffers.begin() && (--at)->second.first >= end) {
    std::snprintf(text, sizeof text, "bytes [%zu, %zu) of ", static_cast<std::size_t>(begin - at->first),
                  static_cast<std::size_t>(end - at->first));
    return text + at->second.second;
  }
  std::snprintf(text, sizeof text, "%zu bytes at %#zx", static_cast<std::size_t>(end - begin),
                static_cast<std::size_t>(begin));
  return text;
}

void note_access(const Lane& lane, const void* data, std::size_t count, bool is_write, const std::string& who) {
  if (count == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(data), end = begin + count;
  const Access now{begin,      end,
                   lane.index, lane.clock[static_cast<std::size_t>(lane.index)],
                   is_write,   lane.name + ": " + who + (is_write ? " writes " : " reads ")};
  auto& accesses = state().accesses;
  for (const Access& before : accesses) {
    const bool conflicts = before.begin < end && begin < before.end && (before.is_write || is_write);
    const auto lane_before = static_cast<std::size_t>(before.lane);
    const bool is_ordered = lane_before < lane.clock.size() && lane.clock[lane_before] >= before.at;
    if (!conflicts || is_ordered) continue;
    const std::string words = before.words + buffer_words(before.begin, before.end) + "; nothing orders it before " +
                              now.words + buffer_words(begin, end);
    auto& races = state().races;
    if (std::find(races.begin(), races.end(), words) == races.end()) races.push_back(words);
  }
  const auto same = [&](const Access& one) {
    return one.begin == begin && one.end == end && one.lane == now.lane && one.is_write == is_write &&
           one.words == now.words;
  };
  const auto found = std::find_if(accesses.begin(), accesses.end(), same);
  found == accesses.end() ? accesses.push_back(now) : void(*found = now);
}

void begin_group(CUstream_st& stream, Group& group) {
  Lane& lane = group.apart ? *group.apart : stream.lane;
  if (group.apart) {
    join(lane.clock, stream.lane.clock);
    lane.tick();
  }
  group.has_begun = true;
  if (group.comm->is_aborted) return;
  for (const auto& one : group.transfers) {
    const std::string peer = std::to_string(one->peer);
    one->is_send ? note_access(lane, one->bytes, one->count, false, "ncclSend to rank " + peer)
                 : note_access(lane, one->bytes, one->count, true, "ncclRecv from rank " + peer);
    const int rank = group.comm->rank;
    auto& routes = group.comm->job->routes;
    if (one->is_send) {
      one->clock = lane.clock;
      if (one->count <= kEagerBytesMax && state().random() % 2 == 0) {
        one->copied.assign(one->bytes, one->bytes + one->count);
        one->is_done = true;
      }
      routes[{rank, one->peer}].sends.push_back(one);
    } else {
      routes[{one->peer, rank}].receives.push_back(one);
    }
  }
}

// The copies that can be made now; one of unequal lengths never.
std::vector<Route*> ready_routes() {
  std::vector<Route*> ready;
  for (auto& [id, job] : state().jobs) {
    for (auto& [ends, route] : job->routes) {
      if (route.sends.empty() || route.receives.empty()) continue;
      if (route.sends.front()->count == route.receives.front()->count) ready.push_back(&route);
    }
  }
  return ready;
}

void copy(Route& route) {
  Transfer &send = *route.sends.front(), &receive = *route.receives.front();
  std::memcpy(receive.bytes, send.copied.empty() ? send.bytes : send.copied.data(), send.count);
  receive.clock = send.clock;
  send.is_done = receive.is_done = true;
  route.sends.pop_front();
  route.receives.pop_front();
}

bool has_ended(const Group& group) {
  return group.comm->is_aborted ||
         std::all_of(group.transfers.begin(), group.transfers.end(), [](const auto& one) { return one->is_done; });
}

void end_group(CUstream_st& stream, const Group& group) {
  for (const auto& one : group.transfers) {
    if (!one->is_send && !group.apart) join(stream.lane.clock, one->clock);
    if (!group.comm->is_aborted) continue;
    for (auto& [ends, route] : group.comm->job->routes) {
      std::erase(route.sends, one);
      std::erase(route.receives, one);
    }
  }
}

bool may_go_on(const CUstream_st& stream) {
  if (stream.queue.empty() || stream.is_running) return false;
  const Operation& first = stream.queue.front();
  if (first.waits_for) return first.waits_for->has_happened;
  return !first.group || !first.group->has_begun || has_ended(*first.group);
}

void go_on(std::unique_lock<std::mutex>& lock, CUstream_st& stream) {
  Operation& first = stream.queue.front();
  if (!first.group || !first.group->has_begun) {
    join(stream.lane.clock, first.posted);
    stream.lane.tick();
  }
  if (first.group && !first.group->has_begun) return begin_group(stream, *first.group);
  if (first.group) end_group(stream, *first.group);
  if (first.waits_for && first.counts) join(stream.lane.clock, first.waits_for->clock);
  if (first.records) *first.records = {true, first.counts ? stream.lane.clock : VectorClock{}};
  if (first.task) {
    stream.is_running = true;
    stream_of_task = &stream;
    const std::function<void()> task = std::move(first.task);
    lock.unlock();
    task();
    lock.lock();
    stream_of_task = nullptr;
    stream.is_running = false;
  }
  stream.queue.pop_front();
}

void launch_late_groups() {
  for (ncclComm* const comm : state().comms) {
    while (!comm->launches.empty() && --comm->launches.front().delay <= 0) {
      ncclComm::Launch launch = std::move(comm->launches.front());
      comm->launches.pop_front();
      Operation operation{std::move(launch.posted)};
      operation.group = std::move(launch.group);
      launch.stream->queue.push_back(std::move(operation));
    }
  }
}

// False when nothing may be executed.
bool execute_one(std::unique_lock<std::mutex>& lock) {
  State& s = state();
  if (s.random() % 8 == 0) {
    for (CUstream_st* const stream : s.streams) stream->weight = s.random();
  }
  CUstream_st* chosen = nullptr;
  for (CUstream_st* const stream : s.streams) {
    if (may_go_on(*stream) && (chosen == nullptr || stream->weight > chosen->weight)) chosen = stream;
  }
  const std::vector<Route*> routes = ready_routes();
  if (!routes.empty() && (chosen == nullptr || s.random() % 2 == 0)) {
    copy(*routes[s.random() % routes.size()]);
  } else if (chosen != nullptr) {
    go_on(lock, *chosen);
  }
  return chosen != nullptr || !routes.empty();
}

void execute() {
  State& s = state();
  std::unique_lock lock(s.mutex);
  for (;;) {
    s.changed.wait(lock, [&] { return s.demand > 0; });
    s.demand = 0;
    launch_late_groups();
    for (std::uint64_t steps = 1 + s.random() % kStepsMax; steps > 0 && execute_one(lock); --steps) continue;
    s.changed.notify_all();
  }
}

}  // namespace

State& state() {
  static State* const made = new State;  // its thread never ends
  return *made;
}

int& rank_of_thread() {
  thread_local int rank = 0;
  return rank;
}

Lane& lane_of_thread() {
  State& s = state();
  const auto [at, is_new] = s.ranks.try_emplace(rank_of_thread());
  if (is_new) at->second = {s.lanes++, "rank " + std::to_string(rank_of_thread()), {}};
  return at->second;
}

void join(VectorClock& mine, const VectorClock& other) {
  if (mine.size() < other.size()) mine.resize(other.size());
  for (std::size_t lane = 0; lane < other.size(); ++lane) mine[lane] = std::max(mine[lane], other[lane]);
}

void set_apart(Group& group) {
  if (group.apart) return;
  const Lane of_thread = lane_of_thread();
  group.apart = std::make_shared<Lane>(Lane{state().lanes++, of_thread.name + ", a group nobody followed", {}});
}

VectorClock posted_now() {
  Lane& lane = lane_of_thread();
  lane.tick();
  return lane.clock;
}

void ask() {
  ++state().demand;
  state().changed.notify_all();
}

void require_execution() {
  static std::once_flag once;
  std::call_once(once, [] { std::thread(execute).detach(); });
}

void queue(cudaStream_t stream, Operation operation) {
  assert_that(stream != nullptr, "the stand-in has no default stream");
  operation.posted = posted_now();
  stream->queue.push_back(std::move(operation));
}

void reset(std::uint64_t seed) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.random.seed(seed);
  s.jobs.clear();
  s.ranks.clear();
  s.streams_made.clear();
  s.buffers.clear();
  s.buffers_made.clear();
  s.accesses.clear();
  s.races.clear();
  s.sites.clear();
  s.dropped.clear();
  s.failing.clear();
  s.async_errors.clear();
  s.lanes = 0;
  s.aborts_hang = s.is_gpu_shared = false;
}

void enter_rank(int rank) { rank_of_thread() = rank; }

void note(std::span<const std::byte> bytes, bool is_write, const std::string& who) {
  const std::lock_guard lock(state().mutex);
  if (stream_of_task == nullptr) lane_of_thread().tick();
  note_access(stream_of_task ? stream_of_task->lane : lane_of_thread(), bytes.data(), bytes.size(), is_write, who);
}
void reads(std::span<const std::byte> bytes, const std::string& who) { note(bytes, false, who); }
void writes(std::span<const std::byte> bytes, const std::string& who) { note(bytes, true, who); }

void enqueue(void* stream, std::function<void()> kernel) {
  const std::lock_guard lock(state().mutex);
  Operation operation;
  operation.task = std::move(kernel);
  queue(static_cast<cudaStream_t>(stream), std::move(operation));
}

bool is_allocated(const void* address) {
  const std::lock_guard lock(state().mutex);
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto& buffers = state().buffers;
  return std::any_of(buffers.begin(), buffers.end(),
                     [&](const auto& one) { return one.first <= at && at < one.second.first; });
}

void name_buffer(std::span<const std::byte> memory, const std::string& name) {
  const std::lock_guard lock(state().mutex);
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  if (memory.empty()) return;
  state().buffers[begin] = {begin + memory.size(), name + " of rank " + std::to_string(rank_of_thread())};
}

std::vector<std::string> races() {
  const std::lock_guard lock(state().mutex);
  return state().races;
}
std::vector<Site> ordering_sites() {
  const std::lock_guard lock(state().mutex);
  return state().sites;
}
void drop(const Site& site) {
  const std::lock_guard lock(state().mutex);
  state().dropped.insert(site);
}
void set_async_error(int rank, int result) {
  const std::lock_guard lock(state().mutex);
  state().async_errors[rank] = static_cast<ncclResult_t>(result);
}
void make_aborts_hang() {
  const std::lock_guard lock(state().mutex);
  state().aborts_hang = true;
}
void fail(const std::string& call, bool fails) {
  const std::lock_guard lock(state().mutex);
  fails ? void(state().failing.insert(call)) : void(state().failing.erase(call));
}
void share_gpu(bool shared) {
  const std::lock_guard lock(state().mutex);
  state().is_gpu_shared = shared;
}
std::int64_t things_alive() {
  const std::lock_guard lock(state().mutex);
  return state().things;
}

}  // namespace ringproof::stand_in

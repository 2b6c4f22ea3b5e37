// Ranks are threads of which exactly one runs at a time, the one that has the turn; so a seed decides everything. What
// a rank asks for becomes tasks: a computation, a send, a receive, the end of an exchange. A task is ready when those
// it needs are done; whoever has the turn and waits picks, at random, a ready task to carry out or another rank to go
// on.
//
// A send copies its bytes aside when it happens and the receive takes them from there, so that either may come long
// before or after the other, as far as `after` allows. Very large ones are copied once, when both are ready.

#include "distributed/communicator_simulated.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>
#include <thread>
#include <utility>

#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBytesAsideMax = std::size_t{1} << 20;
constexpr std::size_t kTasksQueuedMax = 100;  // of a rank, before it is held: one that never waits must not fill memory

struct Task {
  enum class Kind { kCompute, kSend, kReceive, kEnd };

  Kind kind = Kind::kCompute;
  OperationName name{};
  std::vector<std::size_t> needs;  // tasks that are done before this one begins
  HappensBefore::Id host = -1;     // what its rank had seen when it asked
  std::vector<MemoryAccess> accesses;
  std::function<void(void*)> run;  // of a computation

  // Of a transfer.
  int peer = -1;
  std::byte* bytes = nullptr;  // only read by a send
  std::size_t count = 0;
  TransferHeader header{};
  std::optional<std::size_t> counterpart;
  std::vector<std::byte> aside;  // of a send

  bool is_done = false;
  HappensBefore::Id id = -1;

  bool is_transfer() const { return kind == Kind::kSend || kind == Kind::kReceive; }
  std::string text() const {
    if (is_transfer()) return words(header, count, kind == Kind::kSend, peer);
    return name.what + (name.step < 0 ? "" : " of step " + std::to_string(name.step));
  }
};

// Transfers from one rank to another that have no counterpart yet; sends or receives are empty at any time.
struct Route {
  std::deque<std::size_t> sends, receives;
};

struct Rank {
  bool has_ended = false;
  std::function<bool()> may_go_on;  // empty: it does not wait
  Clock::time_point until;          // of its wait
  std::string standing = "computes";
  HappensBefore::Id seen = -1;
  std::optional<std::size_t> last_computation;
  std::vector<std::size_t> open;  // tasks since it withdrew last
  std::condition_variable gets_turn;
};

enum class WaitEnd { kHappened, kNobodyCanGoOn, kDeadline, kFailed };

class World {
 public:
  World(int rank_count, const SimulatedOptions& options)
      : deadline(options.deadline),
        ranks(static_cast<std::size_t>(rank_count)),
        random_(options.seed),
        eagerness_(random_() % 3) {}

  const std::chrono::milliseconds deadline;
  std::deque<Rank> ranks;
  std::deque<Task> tasks;
  HappensBefore order;
  std::string failure;      // the first one, naming its rank; empty while there is none
  int rank_withdrawn = -1;  // whose leaving was that failure; if it left by an exception, that is the cause
  std::size_t barrier_count = 0;
  std::int64_t barriers_passed = 0;
  bool is_over = false;

  Rank& at(int rank) { return ranks[static_cast<std::size_t>(rank)]; }

  void fail(const std::string& sentence) {
    if (failure.empty()) failure = sentence;
  }

  void require_alive(int rank) const {
    if (!failure.empty())
      throw GroupFailed("rank " + std::to_string(rank) + " ended because another failed: " + failure);
  }

  std::string where_all_stand() const {
    std::string text;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      text += "; rank " + std::to_string(rank) + " " + (ranks[rank].has_ended ? "has ended" : ranks[rank].standing);
    }
    return text;
  }

  // Asks for a task of this rank.
  std::size_t add(Task task) {
    const std::size_t index = tasks.size();
    at(task.name.rank).open.push_back(index);
    pending_.push_back(index);
    tasks.push_back(std::move(task));
    return index;
  }

  // Joins a transfer with its counterpart, if that was posted before.
  void match(std::size_t index) {
    Task& mine = tasks[index];
    const bool is_send = mine.kind == Task::Kind::kSend;
    const int rank = mine.name.rank;
    Route& route = routes_[is_send ? std::pair(rank, mine.peer) : std::pair(mine.peer, rank)];
    std::deque<std::size_t>& counterparts = is_send ? route.receives : route.sends;
    if (counterparts.empty()) return (is_send ? route.sends : route.receives).push_back(index);
    const std::size_t other = counterparts.front();
    counterparts.pop_front();
    const std::size_t at_send = is_send ? index : other, at_receive = is_send ? other : index;
    Task &send = tasks[at_send], &receive = tasks[at_receive];
    if (!(send.header == receive.header && send.count == receive.count)) {
      fail(place(receive.name.rank, receive.header.step) + "wanted " + receive.text() + ", got " +
           words(send.header, send.count));
      return;
    }
    send.counterpart = at_receive;
    receive.counterpart = at_send;
    receive.needs.push_back(at_send);
  }

  // Lets things happen after `rank` has asked for something: none, few or many, as the seed says.
  void drift(int rank) {
    static constexpr std::uint64_t kOdds[]{1, 4, 14};  // of 16
    const auto queued = [&] {
      return std::count_if(pending_.begin(), pending_.end(), [&](std::size_t i) { return tasks[i].name.rank == rank; });
    };
    while (failure.empty() && (random_() % 16 < kOdds[eagerness_] || overdue(rank) ||
                               static_cast<std::size_t>(queued()) > kTasksQueuedMax)) {
      if (!go_on(rank)) return;
    }
  }

  // Holds `rank` until `may_go_on`, while other things happen.
  WaitEnd hold(int rank, const std::function<bool()>& may_go_on, const std::string& standing) {
    Rank& mine = at(rank);
    mine.may_go_on = may_go_on;
    mine.until = Clock::now() + deadline;
    mine.standing = standing;
    std::optional<WaitEnd> end;
    while (!end) {
      if (!failure.empty()) {
        end = WaitEnd::kFailed;
      } else if (may_go_on()) {
        end = WaitEnd::kHappened;
      } else if (Clock::now() >= mine.until) {
        end = WaitEnd::kDeadline;
      } else if (!go_on(rank)) {
        end = WaitEnd::kNobodyCanGoOn;
      }
    }
    mine.may_go_on = nullptr;
    if (end == WaitEnd::kHappened) mine.standing = "computes";
    return *end;
  }

  // Takes the rank's open tasks back; the first that the rank has not waited for, a transfer if one is among them.
  std::optional<std::size_t> take_back(int rank) {
    std::optional<std::size_t> left;
    for (const std::size_t index : at(rank).open) {
      const Task& task = tasks[index];
      const bool is_waited_for = task.is_done && at(rank).seen >= 0 && order.is_before(task.id, at(rank).seen);
      if (is_waited_for || task.kind == Task::Kind::kEnd) continue;
      if (!left || (task.is_transfer() && !tasks[*left].is_transfer())) left = index;
    }
    at(rank).open.clear();
    std::erase_if(pending_, [&](std::size_t index) { return tasks[index].name.rank == rank; });
    for (auto& [way, route] : routes_) {
      const auto is_mine = [&](std::size_t index) { return tasks[index].name.rank == rank; };
      std::erase_if(route.sends, is_mine);
      std::erase_if(route.receives, is_mine);
    }
    return left;
  }

  void begin_turns() { pass_turn_on(-1); }

  void await_turn(int rank) {
    std::unique_lock lock(mutex_);
    at(rank).gets_turn.wait(lock, [&] { return turn_ == rank; });
  }

  void end(int rank) {
    at(rank).has_ended = true;
    pass_turn_on(rank);
  }

 private:
  bool overdue(int but) {
    const Clock::time_point now = Clock::now();
    for (int rank = 0; rank < static_cast<int>(ranks.size()); ++rank) {
      if (rank != but && !at(rank).has_ended && at(rank).may_go_on && now >= at(rank).until) return true;
    }
    return false;
  }

  std::vector<int> able_to_go_on(int but) {
    std::vector<int> able;
    for (int rank = 0; rank < static_cast<int>(ranks.size()); ++rank) {
      const Rank& one = at(rank);
      if (rank == but || one.has_ended) continue;
      if (!one.may_go_on || !failure.empty() || one.may_go_on() || Clock::now() >= one.until) able.push_back(rank);
    }
    return able;
  }

  bool is_ready(std::size_t index) const {
    const auto needs_are_done = [&](const Task& task, std::optional<std::size_t> but = {}) {
      return std::all_of(task.needs.begin(), task.needs.end(),
                         [&](std::size_t need) { return need == but || tasks[need].is_done; });
    };
    const Task& task = tasks[index];
    if (!needs_are_done(task)) return false;
    if (!task.is_transfer()) return true;
    if (!task.counterpart) return false;
    return task.count <= kBytesAsideMax || needs_are_done(tasks[*task.counterpart], index);
  }

  // One thing happens: a task, or another rank goes on. False if there is none.
  bool go_on(int rank) {
    std::vector<std::size_t> ready;
    for (const std::size_t index : pending_) {
      if (failure.empty() && is_ready(index)) ready.push_back(index);
    }
    const std::vector<int> others = able_to_go_on(rank);
    if (ready.empty() && others.empty()) return false;
    const std::size_t chosen = random_() % (ready.size() + others.size());
    if (chosen < ready.size()) {
      carry_out(ready[chosen]);
    } else {
      give_turn(others[chosen - ready.size()]);
      await_turn(rank);
    }
    return true;
  }

  void carry_out(std::size_t index) {
    Task& task = tasks[index];
    std::erase(pending_, index);
    try {
      if (task.kind == Task::Kind::kCompute) task.run(nullptr);
    } catch (const std::exception& error) {
      const std::string what = *error.what() == '\0' ? "an exception without words" : error.what();
      const std::string name = "rank " + std::to_string(task.name.rank);
      fail(what.starts_with(name) ? what : name + ": " + what);
    } catch (...) {
      fail(place(task.name.rank, -1) + "an exception of unknown type");
    }
    if (task.kind == Task::Kind::kSend) {
      const Task& receive = tasks[*task.counterpart];
      if (task.count > kBytesAsideMax) {
        std::memcpy(receive.bytes, task.bytes, task.count);
      } else {
        task.aside.assign(task.bytes, task.bytes + task.count);
      }
    } else if (task.kind == Task::Kind::kReceive) {
      std::vector<std::byte>& aside = tasks[*task.counterpart].aside;
      std::copy(aside.begin(), aside.end(), task.bytes);
      aside = {};
    }
    std::vector<HappensBefore::Id> after{task.host};
    for (const std::size_t need : task.needs) after.push_back(tasks[need].id);
    task.id = order.add(task.name, after, task.accesses);
    task.is_done = true;
    const std::function<void(void*)> done = std::move(task.run);  // frees what it holds when the task is done
  }

  // Somebody else goes on, or finds out that nobody can.
  void pass_turn_on(int rank) {
    std::vector<int> others = able_to_go_on(rank);
    for (int other = 0; others.empty() && other < static_cast<int>(ranks.size()); ++other) {
      if (!at(other).has_ended) others.push_back(other);
    }
    if (!others.empty()) give_turn(others[random_() % others.size()]);
  }

  void give_turn(int rank) {
    const std::lock_guard lock(mutex_);
    turn_ = rank;
    at(rank).gets_turn.notify_all();
  }

  std::mutex mutex_;  // of turn_; all else belongs to the rank that has the turn
  int turn_ = -1;
  std::mt19937_64 random_;
  const std::size_t eagerness_;
  std::vector<std::size_t> pending_;
  std::map<std::pair<int, int>, Route> routes_;  // (from, to)
};

class SimulatedCommunicator final : public Communicator {
 public:
  SimulatedCommunicator(std::shared_ptr<World> world, int rank) : world_(std::move(world)), rank_(rank) {}

  int rank() const override { return rank_; }
  int rank_count() const override { return static_cast<int>(world_->ranks.size()); }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    const std::shared_ptr<std::byte> memory = Communicator::allocate(bytes);
    const auto release = [world = world_, rank = rank_, memory, bytes](std::byte*) {
      if (!world->is_over) world->order.forget(rank, {memory.get(), bytes});
    };
    return {memory.get(), release};
  }

  void name_memory(std::span<const std::byte> memory, const std::string& name) override {
    world_->order.call(rank_, memory, name);
  }

  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    world_->require_alive(rank_);
    const std::vector<std::size_t> needs = tasks_of(after);
    std::vector<std::size_t> ends = needs;
    for (const Receive& one : exchange.receives) {
      ends.push_back(post(Task::Kind::kReceive, one.peer, one.bytes.data(), one.bytes.size(), one.header, needs));
    }
    for (const Send& one : exchange.sends) {
      std::byte* const bytes = const_cast<std::byte*>(one.bytes.data());
      ends.push_back(post(Task::Kind::kSend, one.peer, bytes, one.bytes.size(), one.header, needs));
    }
    const std::size_t end = world_->add(task(Task::Kind::kEnd, -1, exchange.name, ends));
    world_->drift(rank_);
    world_->require_alive(rank_);
    return {static_cast<std::int64_t>(end) + 1};
  }

  Event compute(const Compute& compute, std::span<const Event> after) override {
    world_->require_alive(rank_);
    Task next = task(Task::Kind::kCompute, compute.step, compute.name, tasks_of(after));
    std::optional<std::size_t>& last = world_->at(rank_).last_computation;
    if (last) next.needs.push_back(*last);
    for (const std::span<const std::byte> bytes : compute.reads) next.accesses.push_back({bytes, false});
    for (const std::span<const std::byte> bytes : compute.writes) next.accesses.push_back({bytes, true});
    next.run = compute.run;
    last = world_->add(std::move(next));
    const auto event = static_cast<std::int64_t>(*last) + 1;
    world_->at(rank_).standing = "computes " + compute.name + " of step " + std::to_string(compute.step);
    world_->drift(rank_);
    world_->require_alive(rank_);
    return {event};
  }

  void wait(Event event) override {
    world_->require_alive(rank_);
    if (event.id == 0) return;
    const std::size_t index = task_of(event);
    const auto happened_or_hopeless = [&] { return world_->tasks[index].is_done || hopeless(index) != nullptr; };
    const WaitEnd end = world_->hold(rank_, happened_or_hopeless, "waits for " + pending_of(index).text());
    if (end == WaitEnd::kFailed) world_->require_alive(rank_);
    if (end == WaitEnd::kHappened && !world_->tasks[index].is_done) {
      fail(*hopeless(index), ": that rank has ended");
    }
    if (end != WaitEnd::kHappened) fail(pending_of(index), " did not happen" + why(end));
    const HappensBefore::Id both[]{seen(), world_->tasks[index].id};
    world_->at(rank_).seen = world_->order.add({rank_, -1, "wait"}, both, {});
  }

  void barrier() override {
    world_->require_alive(rank_);
    const std::int64_t passed = world_->barriers_passed;
    if (++world_->barrier_count == world_->ranks.size()) {
      world_->barrier_count = 0;
      ++world_->barriers_passed;
      std::vector<HappensBefore::Id> all;
      for (const Rank& rank : world_->ranks) all.push_back(rank.seen);
      const HappensBefore::Id met = world_->order.add({rank_, -1, "barrier"}, all, {});
      for (Rank& rank : world_->ranks) rank.seen = met;
      return;
    }
    const auto ended = [&] {
      const auto one =
          std::find_if(world_->ranks.begin(), world_->ranks.end(), [](const Rank& rank) { return rank.has_ended; });
      return static_cast<std::size_t>(one - world_->ranks.begin());
    };
    const auto passed_or_hopeless = [&] { return world_->barriers_passed > passed || ended() < world_->ranks.size(); };
    const WaitEnd end = world_->hold(rank_, passed_or_hopeless, "waits in a barrier");
    if (world_->barriers_passed > passed) return;
    if (end == WaitEnd::kFailed) world_->require_alive(rank_);
    world_->fail(place(rank_, -1) + (end == WaitEnd::kHappened ? "rank " + std::to_string(ended()) +
                                                                     " has ended and cannot come to the barrier"
                                                               : "not all ranks came to the barrier" + why(end)));
    throw Error(world_->failure);
  }

  void withdraw() noexcept override {
    const std::optional<std::size_t> left = world_->take_back(rank_);
    if (!left) return;
    if (world_->failure.empty()) world_->rank_withdrawn = rank_;
    const Task& task = world_->tasks[*left];
    world_->fail(place(rank_, task.name.step) + "left before " + task.text() + " had happened");
  }

 private:
  HappensBefore::Id seen() const { return world_->at(rank_).seen; }

  Task task(Task::Kind kind, int step, const std::string& what, const std::vector<std::size_t>& needs) const {
    Task task;
    task.kind = kind;
    task.name = {rank_, step, what};
    task.needs = needs;
    task.host = seen();
    return task;
  }

  std::size_t task_of(Event event) const {
    const auto index = static_cast<std::size_t>(event.id - 1);
    assert_that(index < world_->tasks.size() && world_->tasks[index].name.rank == rank_,
                "an event belongs to its communicator");
    return index;
  }

  std::vector<std::size_t> tasks_of(std::span<const Event> events) const {
    std::vector<std::size_t> tasks;
    for (const Event& event : events) {
      if (event.id != 0) tasks.push_back(task_of(event));
    }
    return tasks;
  }

  std::size_t post(Task::Kind kind, int peer, std::byte* bytes, std::size_t count, const TransferHeader& header,
                   const std::vector<std::size_t>& needs) {
    const bool is_send = kind == Task::Kind::kSend;
    if (peer < 0 || peer >= rank_count()) {
      world_->fail(place(rank_, header.step) + words(header, count) + " has peer " + std::to_string(peer) +
                   ", outside [0, " + std::to_string(rank_count()) + ")");
      throw Error(world_->failure);
    }
    const std::string what = (is_send ? "send of block " : "receive of block ") + std::to_string(header.block) +
                             " part " + std::to_string(header.part) + (is_send ? " to rank " : " from rank ") +
                             std::to_string(peer);
    Task mine = task(kind, header.step, what, needs);
    mine.accesses = {{{bytes, count}, !is_send}};
    mine.peer = peer;
    mine.bytes = bytes;
    mine.count = count;
    mine.header = header;
    const std::size_t index = world_->add(std::move(mine));
    if (world_->failure.empty()) world_->match(index);
    return index;
  }

  // What of this rank the task waits for first.
  const Task& pending_of(std::size_t index) const {
    const Task& task = world_->tasks[index];
    for (const std::size_t need : task.needs) {
      const Task& needed = world_->tasks[need];
      if (!needed.is_done && needed.name.rank == rank_) return pending_of(need);
    }
    return task;
  }

  // A transfer posted no later than the task, whose peer has ended without posting its side.
  const Task* hopeless(std::size_t latest) const {
    for (const std::size_t index : world_->at(rank_).open) {
      const Task& task = world_->tasks[index];
      const bool is_alone = task.is_transfer() && !task.counterpart;
      if (index <= latest && is_alone && world_->at(task.peer).has_ended) return &task;
    }
    return nullptr;
  }

  [[noreturn]] void fail(const Task& task, const std::string& what) {
    world_->fail(place(rank_, task.name.step) + task.text() + what);
    throw Error(world_->failure);
  }

  std::string why(WaitEnd end) const {
    const std::string within = " within " + std::to_string(world_->deadline.count()) + " ms";
    return (end == WaitEnd::kDeadline ? within : ": no rank can go on") + world_->where_all_stand();
  }

  const std::shared_ptr<World> world_;
  const int rank_;
};

void end_rank(World& world, int rank, const std::string& failure) {
  if (!failure.empty() && world.rank_withdrawn == rank) world.failure.clear();
  if (!failure.empty()) world.fail(failure);
  world.end(rank);
}

void run_rank(const std::shared_ptr<World>& world, int rank, const std::function<void(Communicator&)>& body) noexcept {
  world->await_turn(rank);
  std::string failure;
  {
    SimulatedCommunicator communicator(world, rank);
    failure = run_body(communicator, body).failure;
    communicator.withdraw();
  }
  end_rank(*world, rank, failure);
}

}  // namespace

SimulatedReport simulate(int rank_count, const SimulatedOptions& options,
                         const std::function<void(Communicator&)>& body) {
  assert_that(rank_count >= 1, "there is at least one rank");
  const auto world = std::make_shared<World>(rank_count, options);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < rank_count; ++rank) {
    try {
      threads.emplace_back(run_rank, std::cref(world), rank, std::cref(body));
    } catch (const std::system_error& error) {
      world->fail("rank " + std::to_string(rank) + ": no thread could be started: " + error.what());
      for (int missing = rank; missing < rank_count; ++missing) world->at(missing).has_ended = true;
      break;
    }
  }
  if (!threads.empty()) world->begin_turns();
  for (std::thread& thread : threads) thread.join();
  world->is_over = true;
  return {world->order.races(), world->failure};
}

Launcher simulated_launcher(const SimulatedOptions& options, const std::function<void(const Race&)>& on_race) {
  return [options, on_race](int rank_count, const std::function<void(Communicator&)>& body) {
    const SimulatedReport report = simulate(rank_count, options, body);
    for (const Race& race : report.races) on_race(race);
    if (!report.failure.empty()) throw Error(report.failure);
  };
}

}  // namespace ringproof

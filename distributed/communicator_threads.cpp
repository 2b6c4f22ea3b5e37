// A transfer is a rendezvous: each side posts what it has, and the side that finds its counterpart posted already
// makes the one copy, outside the lock, while the first to post may be computing. So nothing is buffered, memory
// belongs to the algorithm, and a transfer's end is the same moment for both sides.
//
// The group has one lock and one condition variable: ranks are few and their messages large. A failure is kept in the
// group, the first one wins, and every wait looks for it, so that no rank waits for one that is gone.

#include "distributed/communicator_threads.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

enum class Progress { kPosted, kCopying, kDone };

struct Transfer {
  int rank, peer;
  bool is_send;
  std::byte* bytes;  // only read when is_send
  std::size_t count;
  TransferHeader header;
  Progress progress = Progress::kPosted;
};
using TransferPtr = std::shared_ptr<Transfer>;
using Copies = std::vector<std::pair<TransferPtr, TransferPtr>>;  // (send, receive)

// What waits on the way from one rank to another; sends or receives are empty at any time.
struct Route {
  std::deque<TransferPtr> sends, receives;
};

// What a rank that waits waits for: a transfer, or that more than this many barriers have been passed.
struct Blocked {
  const Transfer* transfer = nullptr;
  std::int64_t barriers_passed = -1;
};

struct Group {
  int rank_count;
  std::chrono::milliseconds deadline;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::pair<int, int>, Route> routes;  // (from, to)
  std::vector<std::string> standing;            // what each rank does now
  std::vector<bool> has_ended;
  std::vector<Blocked> blocked;
  std::string failure;      // the first one, naming its rank; empty while there is none
  int rank_withdrawn = -1;  // whose leaving was that failure; if it left by an exception, that is the cause
  int barrier_count = 0;
  std::int64_t barriers_passed = 0;

  Group(int ranks, std::chrono::milliseconds limit)
      : rank_count(ranks),
        deadline(limit),
        standing(static_cast<std::size_t>(ranks), "computes"),
        has_ended(static_cast<std::size_t>(ranks), false),
        blocked(static_cast<std::size_t>(ranks)) {}

  // The following need the lock.
  void fail(std::string sentence) {
    if (failure.empty()) failure = std::move(sentence);
    changed.notify_all();
  }
  void require_alive(int rank) const {
    if (!failure.empty())
      throw GroupFailed("rank " + std::to_string(rank) + " ended because another failed: " + failure);
  }
  bool nobody_can_go_on() const {
    for (std::size_t rank = 0; rank < blocked.size(); ++rank) {
      const Transfer* const transfer = blocked[rank].transfer;
      const bool waits_for_transfer = transfer != nullptr && transfer->progress == Progress::kPosted;
      if (!has_ended[rank] && !waits_for_transfer && blocked[rank].barriers_passed != barriers_passed) return false;
    }
    return true;
  }
  std::string where_all_stand() const {
    std::string text;
    for (std::size_t rank = 0; rank < standing.size(); ++rank) {
      text += "; rank " + std::to_string(rank) + " " + (has_ended[rank] ? "has ended" : standing[rank]);
    }
    return text;
  }
};

std::string words(const Transfer& transfer) {
  return words(transfer.header, transfer.count, transfer.is_send, transfer.peer);
}

// Puts `mine` on its route or, if its counterpart waits there, into `copies`. Needs the lock.
void post(Group& group, const TransferPtr& mine, Copies& copies) {
  Route& route = group.routes[mine->is_send ? std::pair(mine->rank, mine->peer) : std::pair(mine->peer, mine->rank)];
  std::deque<TransferPtr>& counterparts = mine->is_send ? route.receives : route.sends;
  if (counterparts.empty()) {
    (mine->is_send ? route.sends : route.receives).push_back(mine);
    return;
  }
  const TransferPtr other = counterparts.front();
  const TransferPtr send = mine->is_send ? mine : other, receive = mine->is_send ? other : mine;
  if (!(send->header == receive->header && send->count == receive->count)) {
    group.fail(place(receive->rank, receive->header.step) + "wanted " + words(*receive) + ", got " +
               words(send->header, send->count));
    return;
  }
  counterparts.pop_front();
  send->progress = receive->progress = Progress::kCopying;
  copies.emplace_back(send, receive);
}

class ThreadsCommunicator final : public Communicator {
 public:
  ThreadsCommunicator(Group& group, int rank) : group_(group), rank_(rank) {}

  int rank() const override { return rank_; }
  int rank_count() const override { return group_.rank_count; }

  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    std::vector<TransferPtr> mine;
    for (const Receive& receive : exchange.receives) {
      mine.push_back(transfer(receive.peer, false, receive.bytes.data(), receive.bytes.size(), receive.header));
    }
    for (const Send& send : exchange.sends) {
      mine.push_back(
          transfer(send.peer, true, const_cast<std::byte*>(send.bytes.data()), send.bytes.size(), send.header));
    }
    Copies copies;
    std::unique_lock lock(group_.mutex);
    group_.require_alive(rank_);
    exchanges_.push_back(mine);
    for (const TransferPtr& one : mine) {
      if (group_.failure.empty()) post(group_, one, copies);
    }
    lock.unlock();
    for (const auto& [send, receive] : copies) {
      if (send->count > 0) std::memcpy(receive->bytes, send->bytes, send->count);
    }
    lock.lock();
    for (const auto& [send, receive] : copies) send->progress = receive->progress = Progress::kDone;
    group_.changed.notify_all();
    group_.require_alive(rank_);
    return {static_cast<std::int64_t>(exchanges_.size())};
  }

  Event compute(const Compute& compute, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    {
      const std::lock_guard lock(group_.mutex);
      group_.require_alive(rank_);
      standing() = "computes " + compute.name + " of step " + std::to_string(compute.step);
    }
    compute.run(nullptr);
    return {};
  }

  void wait(Event event) override {
    std::unique_lock lock(group_.mutex);
    group_.require_alive(rank_);
    if (event.id == 0) return;
    assert_that(event.id <= static_cast<std::int64_t>(exchanges_.size()), "an event belongs to its communicator");
    std::vector<TransferPtr>& transfers = exchanges_[static_cast<std::size_t>(event.id - 1)];
    const auto until = std::chrono::steady_clock::now() + group_.deadline;
    while (const Transfer* pending = first_pending(transfers)) {
      standing() = "waits for " + words(*pending);
      if (group_.has_ended[static_cast<std::size_t>(pending->peer)] && pending->progress == Progress::kPosted) {
        fail(pending->header.step, words(*pending) + ": that rank has ended");
      }
      Blocked& blocked = group_.blocked[static_cast<std::size_t>(rank_)];
      blocked.transfer = pending;
      if (group_.nobody_can_go_on()) fail(pending->header.step, words(*pending) + " did not happen" + nobody());
      const bool is_late = group_.changed.wait_until(lock, until) == std::cv_status::timeout;
      blocked.transfer = nullptr;
      if (is_late && first_pending(transfers) == pending) {
        fail(pending->header.step, words(*pending) + " did not happen" + within_deadline());
      }
      group_.require_alive(rank_);
    }
    standing() = "computes";
    transfers.clear();
  }

  void barrier() override {
    std::unique_lock lock(group_.mutex);
    group_.require_alive(rank_);
    const std::int64_t passed = group_.barriers_passed;
    if (++group_.barrier_count == group_.rank_count) {
      group_.barrier_count = 0;
      ++group_.barriers_passed;
      group_.changed.notify_all();
      return;
    }
    standing() = "waits in a barrier";
    const auto until = std::chrono::steady_clock::now() + group_.deadline;
    while (group_.barriers_passed == passed) {
      for (int peer = 0; peer < group_.rank_count; ++peer) {
        if (!group_.has_ended[static_cast<std::size_t>(peer)]) continue;
        fail(-1, "rank " + std::to_string(peer) + " has ended and cannot come to the barrier");
      }
      Blocked& blocked = group_.blocked[static_cast<std::size_t>(rank_)];
      blocked.barriers_passed = passed;
      if (group_.nobody_can_go_on()) fail(-1, "not all ranks came to the barrier" + nobody());
      const bool is_late = group_.changed.wait_until(lock, until) == std::cv_status::timeout;
      blocked.barriers_passed = -1;
      if (is_late && group_.barriers_passed == passed) {
        fail(-1, "not all ranks came to the barrier" + within_deadline());
      }
      if (group_.barriers_passed == passed) group_.require_alive(rank_);
    }
    standing() = "computes";
  }

  void withdraw() noexcept override {
    std::unique_lock lock(group_.mutex);
    for (std::vector<TransferPtr>& transfers : exchanges_) {
      for (const TransferPtr& one : transfers) {
        if (one->progress == Progress::kPosted) {
          if (group_.failure.empty()) group_.rank_withdrawn = rank_;
          group_.fail(place(rank_, one->header.step) + "left before " + words(*one) + " had happened");
          std::erase(group_.routes[{rank_, one->peer}].sends, one);
          std::erase(group_.routes[{one->peer, rank_}].receives, one);
        }
        group_.changed.wait(lock, [&] { return one->progress != Progress::kCopying; });
      }
      transfers.clear();
    }
  }

 private:
  TransferPtr transfer(int peer, bool is_send, std::byte* bytes, std::size_t count, const TransferHeader& header) {
    if (peer < 0 || peer >= group_.rank_count) {
      const std::lock_guard lock(group_.mutex);
      fail(header.step, words(header, count) + " has peer " + std::to_string(peer) + ", outside [0, " +
                            std::to_string(group_.rank_count) + ")");
    }
    return std::make_shared<Transfer>(Transfer{rank_, peer, is_send, bytes, count, header});
  }

  static const Transfer* first_pending(const std::vector<TransferPtr>& transfers) {
    for (const TransferPtr& one : transfers) {
      if (one->progress != Progress::kDone) return one.get();
    }
    return nullptr;
  }

  std::string nobody() const { return ": no rank can go on" + group_.where_all_stand(); }

  std::string within_deadline() const {
    return " within " + std::to_string(group_.deadline.count()) + " ms" + group_.where_all_stand();
  }

  std::string& standing() { return group_.standing[static_cast<std::size_t>(rank_)]; }

  [[noreturn]] void fail(int step, const std::string& sentence) {
    group_.fail(place(rank_, step) + sentence);
    throw Error(group_.failure);
  }

  Group& group_;
  const int rank_;
  std::vector<std::vector<TransferPtr>> exchanges_;  // by event id - 1
};

void end_rank(Group& group, int rank, const std::string& failure) {
  const std::lock_guard lock(group.mutex);
  if (!failure.empty() && group.rank_withdrawn == rank) group.failure.clear();
  if (!failure.empty()) group.fail(failure);
  group.has_ended[static_cast<std::size_t>(rank)] = true;
  group.changed.notify_all();
}

void run_rank(Group& group, int rank, const std::function<void(Communicator&)>& body) noexcept {
  ThreadsCommunicator communicator(group, rank);
  const std::string failure = run_body(communicator, body).failure;
  communicator.withdraw();
  end_rank(group, rank, failure);
}

}  // namespace

void run_on_threads(int rank_count, std::chrono::milliseconds deadline,
                    const std::function<void(Communicator&)>& body) {
  assert_that(rank_count >= 1, "there is at least one rank");
  Group group(rank_count, deadline);
  std::vector<std::thread> threads;
  if (rank_count == 1) {
    run_rank(group, 0, body);
  } else {
    for (int rank = 0; rank < rank_count; ++rank) {
      try {
        threads.emplace_back(run_rank, std::ref(group), rank, std::cref(body));
      } catch (const std::system_error& error) {
        end_rank(group, rank, place(rank, -1) + "no thread could be started: " + error.what());
        break;
      }
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (!group.failure.empty()) throw Error(group.failure);
}

Launcher threads_launcher(std::chrono::milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    run_on_threads(rank_count, deadline, body);
  };
}

}  // namespace ringproof

// Two ranks post transfers for each other in the same order, so that the n-th send from one meets the n-th receive of
// the other: each side keeps what it has posted and what it was told until the two meet. Whoever receives compares.

#include "distributed/job_peers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Bytes = std::vector<std::byte>;

enum Kind { kPosted, kFailed, kEnded, kMessage, kText, kOfRank0 };

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

JobPeers::JobPeers(int rank, int rank_count, std::vector<int> sockets, milliseconds deadline)
    : rank_(rank),
      rank_count_(rank_count),
      deadline_(deadline),
      routes_(static_cast<std::size_t>(rank_count)),
      has_ended_(static_cast<std::size_t>(rank_count)),
      causes_(static_cast<std::size_t>(rank_count)),
      messages_(static_cast<std::size_t>(rank_count)) {
  channel_ = std::make_unique<SideChannel>(
      rank, rank_count, std::move(sockets), deadline,
      SideChannel::Listener{
          [this](int from, int kind, std::span<const std::byte> bytes) { on_message(from, kind, bytes); },
          [this](int gone) { on_gone(gone); }});
}

std::string JobPeers::name() const { return "rank " + std::to_string(rank_); }

void JobPeers::post(const std::shared_ptr<PostedTransfer>& posted) {
  PostedTransfer& transfer = *posted;
  const Wire wire{transfer.header, transfer.bytes.size(), transfer.is_send};
  {
    const std::lock_guard lock(mutex_);
    Route& route = routes_[static_cast<std::size_t>(transfer.peer)];
    std::deque<Wire>& counterparts = transfer.is_send ? route.peer_receives : route.peer_sends;
    if (counterparts.empty()) {
      (transfer.is_send ? route.sends : route.receives).push_back(posted);
    } else {
      const Wire other = counterparts.front();
      counterparts.pop_front();
      meet(transfer, other);
    }
  }
  if (transfer.peer == rank_) return on_posted(rank_, wire);
  channel_->send(transfer.peer, kPosted, std::as_bytes(std::span(&wire, 1)));
}

void JobPeers::on_posted(int from, const Wire& wire) {
  const std::lock_guard lock(mutex_);
  Route& route = routes_[static_cast<std::size_t>(from)];
  std::deque<std::shared_ptr<PostedTransfer>>& mine = wire.is_send ? route.receives : route.sends;
  if (mine.empty()) {
    (wire.is_send ? route.peer_sends : route.peer_receives).push_back(wire);
    return;
  }
  const std::shared_ptr<PostedTransfer> transfer = mine.front();
  mine.pop_front();
  meet(*transfer, wire);
}

void JobPeers::meet(PostedTransfer& transfer, const Wire& other) {
  const bool matches = transfer.header == other.header && transfer.bytes.size() == other.count;
  if (transfer.is_send || matches) {
    transfer.is_met = true;
    changed_.notify_all();
    return;
  }
  own_failure_ = place(rank_, transfer.header.step) + "wanted " +
                 words(transfer.header, transfer.bytes.size(), false, transfer.peer) + ", got " +
                 words(other.header, other.count);
  fail_locked(own_failure_);
}

bool JobPeers::is_met(const PostedTransfer& transfer) const {
  const std::lock_guard lock(mutex_);
  return transfer.is_met;
}

bool JobPeers::is_lost(const PostedTransfer& transfer) const {
  const std::lock_guard lock(mutex_);
  return failure_.empty() && !transfer.is_met && has_ended_[static_cast<std::size_t>(transfer.peer)];
}

void JobPeers::on_message(int from, int kind, std::span<const std::byte> bytes) {
  if (kind == kPosted) {
    Wire wire;
    assert_that(bytes.size() == sizeof wire, "a rank tells of a transfer in one message");
    std::memcpy(&wire, bytes.data(), sizeof wire);
    return on_posted(from, wire);
  }
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto index = static_cast<std::size_t>(from);
  const std::lock_guard lock(mutex_);
  if (kind == kMessage) messages_[index].emplace_back(bytes.begin(), bytes.end());
  if (kind == kText) texts_[from] = text;
  if (kind == kOfRank0) of_rank_0_.assign(bytes.begin(), bytes.end());
  if (kind == kEnded) {
    has_ended_[index] = true;
    causes_[index] = text;
  }
  if (kind == kFailed && failure_.empty()) {
    failure_ = text;
    is_failure_told_ = true;  // by the other
  }
  changed_.notify_all();
}

// A rank that ended said so before.
void JobPeers::on_gone(int rank) {
  const std::lock_guard lock(mutex_);
  if (has_ended_[static_cast<std::size_t>(rank)]) return;
  has_ended_[static_cast<std::size_t>(rank)] = true;
  fail_locked(name() + ": the process of rank " + std::to_string(rank) + " is gone, while this rank " + standing_);
}

void JobPeers::fail_locked(const std::string& sentence) {
  if (failure_.empty()) failure_ = sentence;
  changed_.notify_all();
}

void JobPeers::fail(const std::string& sentence) {
  {
    const std::lock_guard lock(mutex_);
    own_failure_ = sentence;
    fail_locked(sentence);
  }
  tell_failure();
}

void JobPeers::fail_once(const std::string& sentence) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) return;
    own_failure_ = sentence;
    fail_locked(sentence);
  }
  tell_failure();
}

// Not by the thread that listens, and outside the lock: to send may mean to wait.
void JobPeers::tell_failure() {
  std::string sentence;
  {
    const std::lock_guard lock(mutex_);
    if (failure_.empty() || std::exchange(is_failure_told_, true)) return;
    sentence = failure_;
  }
  channel_->send_to_all(kFailed, bytes_of(sentence));
}

std::string JobPeers::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void JobPeers::require_alive() const {
  const std::lock_guard lock(mutex_);
  require_alive_locked();
}

void JobPeers::require_alive_locked() const {
  if (failure_.empty()) return;
  if (own_failure_ == failure_) throw Error(failure_);
  throw GroupFailed(name() + " ended because another failed: " + failure_);
}

void JobPeers::stand(const std::string& text) {
  const std::lock_guard lock(mutex_);
  standing_ = text;
}

std::string JobPeers::standing() const {
  const std::lock_guard lock(mutex_);
  return standing_;
}

template <class Test>
void JobPeers::until_true(std::unique_lock<std::mutex>& lock, const std::string& what, bool is_patient,
                          const Test& is_true) {
  standing_ = "waits for " + what;
  const auto is_over = [&] { return is_true() || !failure_.empty(); };
  if (is_patient) {
    changed_.wait(lock, is_over);
  } else if (!changed_.wait_for(lock, deadline_, is_over)) {
    own_failure_ = name() + ": " + what + " did not come within " + std::to_string(deadline_.count()) + " ms";
    fail_locked(own_failure_);
  }
  if (!is_true()) require_alive_locked();
}

std::vector<std::string> JobPeers::gather(const std::string& text) {
  channel_->send_to_all(kText, bytes_of(text));
  std::unique_lock lock(mutex_);
  texts_[rank_] = text;
  until_true(lock, "a word of every rank", false, [&] { return texts_.size() == routes_.size(); });
  std::vector<std::string> texts;
  for (const auto& [rank, one] : texts_) texts.push_back(one);
  return texts;
}

Bytes JobPeers::from_rank_0(std::span<const std::byte> bytes) {
  if (rank_ == 0) {
    channel_->send_to_all(kOfRank0, bytes);
    return {bytes.begin(), bytes.end()};
  }
  std::unique_lock lock(mutex_);
  until_true(lock, "a word of rank 0", false, [&] { return !of_rank_0_.empty(); });
  return of_rank_0_;
}

void JobPeers::send(int rank, std::span<const std::byte> bytes) {
  require_alive();
  channel_->send(rank, kMessage, bytes);
}

Bytes JobPeers::receive(int rank, bool is_patient) {
  std::deque<Bytes>& queue = messages_[static_cast<std::size_t>(rank)];
  std::unique_lock lock(mutex_);
  until_true(lock, "a message from rank " + std::to_string(rank), is_patient, [&] { return !queue.empty(); });
  Bytes bytes = std::move(queue.front());
  queue.pop_front();
  return bytes;
}

std::string JobPeers::end(bool is_consequence) {
  tell_failure();
  std::string cause;
  {
    const std::lock_guard lock(mutex_);
    if (!is_consequence) cause = own_failure_;
  }
  channel_->send_to_all(kEnded, bytes_of(cause));
  std::unique_lock lock(mutex_);
  causes_[static_cast<std::size_t>(rank_)] = cause;
  has_ended_[static_cast<std::size_t>(rank_)] = true;
  standing_ = "has ended and waits for the others to";
  const bool have_all = changed_.wait_for(
      lock, deadline_, [&] { return std::find(has_ended_.begin(), has_ended_.end(), false) == has_ended_.end(); });
  if (!have_all) {
    fail_locked(name() + ": not all ranks ended within " + std::to_string(deadline_.count()) + " ms");
  }
  for (const std::string& one : causes_) {
    if (!one.empty()) return one;
  }
  return failure_;
}

void JobPeers::rest(int turn) {
  constexpr int kYields = 50, kSleepMax = 500;
  tell_failure();
  if (turn < kYields) return std::this_thread::yield();
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::microseconds(std::min(turn, kSleepMax)));
}

void JobPeers::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

}  // namespace ringproof

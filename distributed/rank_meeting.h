#pragma once

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "reference/spec/candidate.h"
#include "reference/spec/error.h"

namespace ringproof {

/// What one rank was asked by the judge.
struct RankCall {
  const Problem& problem;
  const TensorView &q, &k, &v, &out;
  const TensorView* lse;
};

/// A judge calls its ranks concurrently, each by a function of its own. Where one party answers for all of them, they
/// meet here: a thread per rank calls in, and when every rank has, the thread that serves makes the calls together.
class RankMeeting {
 public:
  /// Starts the threads: each runs `body`, which outlives this.
  RankMeeting(int ranks, const RankBody& body) : calls_(static_cast<std::size_t>(ranks)), absent_(ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      threads_.emplace_back([this, rank, &body] {
        std::exception_ptr thrown;
        try {
          body(rank, [this, rank](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                                  const TensorView& out, const TensorView* lse, void*) {
            return call(rank, {problem, q, k, v, out, lse});
          });
        } catch (...) {
          thrown = std::current_exception();
        }
        leave(thrown);
      });
    }
  }
  RankMeeting(const RankMeeting&) = delete;
  RankMeeting& operator=(const RankMeeting&) = delete;
  ~RankMeeting() {
    {
      const std::lock_guard lock(mutex_);
      if (!thrown_) thrown_ = std::make_exception_ptr(Error("nobody serves this rank any more"));
    }
    answered_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  /// Until all ranks have left; throws what a rank threw, or `make(std::vector<std::optional<RankCall>>&)`, which
  /// returns their common Status.
  template <class Make>
  void serve(const Make& make) {
    std::unique_lock lock(mutex_);
    while (absent_ > 0) {
      changed_.wait(lock, [&] { return absent_ == 0 || thrown_ || waiting_ == static_cast<int>(calls_.size()); });
      if (thrown_ || waiting_ < static_cast<int>(calls_.size())) {
        changed_.wait(lock, [&] { return absent_ == 0; });
        break;
      }
      try {
        status_ = make(calls_);
      } catch (...) {
        thrown_ = std::current_exception();
      }
      for (std::optional<RankCall>& one : calls_) one.reset();
      waiting_ = 0;
      answered_.notify_all();
    }
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  // On a rank's thread: waits until the call has been made.
  Status call(int rank, const RankCall& asked) {
    std::unique_lock lock(mutex_);
    calls_[static_cast<std::size_t>(rank)].emplace(asked);
    if (++waiting_ == static_cast<int>(calls_.size())) changed_.notify_all();
    answered_.wait(lock, [&] { return !calls_[static_cast<std::size_t>(rank)] || thrown_; });
    if (thrown_) std::rethrow_exception(thrown_);
    return status_;
  }

  void leave(std::exception_ptr thrown) {
    const std::lock_guard lock(mutex_);
    --absent_;
    if (thrown && !thrown_) thrown_ = thrown;
    if (thrown_) answered_.notify_all();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;   // for the thread that serves
  std::condition_variable answered_;  // for ranks
  std::vector<std::optional<RankCall>> calls_;
  int absent_, waiting_ = 0;
  Status status_ = Status::kOk;
  std::exception_ptr thrown_;
  std::vector<std::thread> threads_;
};

}  // namespace ringproof

#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>

namespace ringproof {

/// What one thread asks another to do, one thing at a time: for libraries that want to be called by one thread alone.
class Errands {
 public:
  /// `pause`: how long the thread that serves waits for an errand before it turns to its own work.
  explicit Errands(std::chrono::milliseconds pause) : pause_(pause) {}

  /// On the thread that asks: returns when the other has run `task`, and throws what it threw.
  void ask(const std::function<void()>& task);

  /// On the thread that asks, for the last time.
  void finish();

  /// On the thread that serves: runs what is asked for until finish(), and `between` at the beginning, after each
  /// errand and at every pause without one. Requires that `between` throws nothing.
  void serve(const std::function<void()>& between);

 private:
  std::chrono::milliseconds pause_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* task_ = nullptr;
  std::exception_ptr thrown_;
  bool is_finished_ = false;
};

}  // namespace ringproof

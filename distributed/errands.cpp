// The one who asks waits, so an errand may refer to anything on its stack.

#include "distributed/errands.h"

#include <utility>

namespace ringproof {

void Errands::ask(const std::function<void()>& task) {
  std::unique_lock lock(mutex_);
  task_ = &task;
  changed_.notify_all();
  changed_.wait(lock, [&] { return task_ == nullptr; });
  if (const std::exception_ptr thrown = std::exchange(thrown_, nullptr)) std::rethrow_exception(thrown);
}

void Errands::finish() {
  const std::lock_guard lock(mutex_);
  is_finished_ = true;
  changed_.notify_all();
}

void Errands::serve(const std::function<void()>& between) {
  std::unique_lock lock(mutex_);
  while (!is_finished_) {
    between();
    changed_.wait_for(lock, pause_, [&] { return is_finished_ || task_ != nullptr; });
    if (task_ == nullptr) continue;
    try {
      (*task_)();
    } catch (...) {
      thrown_ = std::current_exception();
    }
    task_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace ringproof

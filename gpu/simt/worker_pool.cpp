// A list of jobs under one mutex. The caller is its own first worker, and takes its job off the list when its own call
// of `work` has returned; what is left to wait for then are helpers in the middle of theirs. No helper ever waits for
// anything but a new job, hence no deadlock.

#include "gpu/simt/worker_pool.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace ringproof::simt::host {
namespace {

struct Job {
  const std::function<void()>* work;
  int helpers_wanted;
  int helpers_active = 0;
};

struct Pool {
  std::mutex mutex;
  std::condition_variable job_added, helper_finished;
  std::vector<Job*> jobs;
  int helper_count = 0;
};

// Never destroyed: helpers sleep in it until the process ends, and a process that has forked (a death test) must not
// try to join threads that exist in the parent only.
Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

Job* find_job(Pool& p) {
  for (Job* job : p.jobs) {
    if (job->helpers_wanted > 0) return job;
  }
  return nullptr;
}

void help_forever() {
  Pool& p = pool();
  std::unique_lock lock(p.mutex);
  for (;;) {
    Job* job = nullptr;
    p.job_added.wait(lock, [&] { return (job = find_job(p)) != nullptr; });
    --job->helpers_wanted;
    ++job->helpers_active;
    lock.unlock();
    (*job->work)();
    lock.lock();
    --job->helpers_active;
    p.helper_finished.notify_all();
  }
}

}  // namespace

void run_with_helpers(int helper_count, const std::function<void()>& work) {
  if (helper_count <= 0) return work();
  Pool& p = pool();
  Job job{&work, helper_count};
  std::unique_lock lock(p.mutex);
  for (; p.helper_count < helper_count; ++p.helper_count) std::thread(help_forever).detach();
  p.jobs.push_back(&job);
  lock.unlock();
  p.job_added.notify_all();
  work();
  lock.lock();
  p.jobs.erase(std::find(p.jobs.begin(), p.jobs.end(), &job));
  p.helper_finished.wait(lock, [&] { return job.helpers_active == 0; });
}

}  // namespace ringproof::simt::host

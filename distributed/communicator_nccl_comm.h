#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/job_peers.h"

namespace ringproof {

/// Throw Error naming the call, unless it did what it was asked to (or, for NCCL, does so now).
void check(cudaError_t status, const char* call);
void check(ncclResult_t status, const char* call);

/// A communicator of NCCL that does not block, under a watchdog: a thread that asks NCCL for errors of its own and, as
/// soon as the job has failed, aborts it. An abort may hang: it has a thread of its own, and when it has not ended
/// within the job's deadline, `on_stuck` is told where this rank stands; if null, or if it comes back, the words go to
/// stderr and the process exits with code 3.
class WatchedNccl {
 public:
  /// `peers` outlives this.
  WatchedNccl(JobPeers& peers, std::function<void(const std::string&)> on_stuck);
  ~WatchedNccl() { stop(); }
  WatchedNccl(const WatchedNccl&) = delete;
  WatchedNccl& operator=(const WatchedNccl&) = delete;

  /// Collective. Throws Error, as the following do, and GroupFailed once the job has failed.
  void make(const ncclUniqueId& id);

  /// Gives the transfers that have bytes to `stream`, as one group, and returns when they are there.
  void post(const std::vector<std::shared_ptr<PostedTransfer>>& transfers, cudaStream_t stream);

  /// Returns at once while the job has not failed; else when nothing of NCCL is under way any more.
  void await_abort();

  /// Ends NCCL and the watchdog. Nothing is under way.
  void stop() noexcept;

 private:
  void settle(const char* call);
  void watch();
  void ask_for_errors();
  std::string words_of(ncclResult_t state) const;
  void abort();
  [[noreturn]] void end_stuck();

  JobPeers& peers_;
  const std::function<void(const std::string&)> on_stuck_;
  std::mutex comm_mutex_;  // whoever calls NCCL holds it; an abort takes the communicator away first
  ncclComm_t comm_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_aborted_ = false, is_stopping_ = false;
  std::thread watchdog_, abort_;
};

}  // namespace ringproof

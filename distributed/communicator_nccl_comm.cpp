// Without blocking, NCCL's calls return "in progress": what they were asked for may be given to the stream only later,
// so that a group is followed to its end before anything is recorded behind it. No peer is waited for there, once all
// pairs of ranks are connected.

#include "distributed/communicator_nccl_comm.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kExitInconclusive = 3;
constexpr milliseconds kWatchdogRound{20};

}  // namespace

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw Error(std::string(call) + " failed: " + cudaGetErrorString(status));
}

void check(ncclResult_t status, const char* call) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  throw Error(std::string(call) + " failed: " + ncclGetErrorString(status));
}

WatchedNccl::WatchedNccl(JobPeers& peers, std::function<void(const std::string&)> on_stuck)
    : peers_(peers), on_stuck_(std::move(on_stuck)), watchdog_([this] { watch(); }) {}

void WatchedNccl::make(const ncclUniqueId& id) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  {
    const std::lock_guard lock(comm_mutex_);
    check(ncclCommInitRankConfig(&comm_, peers_.rank_count(), id, peers_.rank(), &config), "ncclCommInitRankConfig");
  }
  settle("ncclCommInitRankConfig");
}

void WatchedNccl::post(const std::vector<std::shared_ptr<PostedTransfer>>& transfers, cudaStream_t stream) {
  {
    const std::lock_guard lock(comm_mutex_);
    if (comm_ == nullptr) return peers_.require_alive();
    check(ncclGroupStart(), "ncclGroupStart");
    for (const auto& one : transfers) {
      if (one->bytes.empty()) continue;
      const ncclResult_t status =
          one->is_send ? ncclSend(one->bytes.data(), one->bytes.size(), ncclInt8, one->peer, comm_, stream)
                       : ncclRecv(one->bytes.data(), one->bytes.size(), ncclInt8, one->peer, comm_, stream);
      check(status, one->is_send ? "ncclSend" : "ncclRecv");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
  }
  settle("ncclGroupEnd");
}

void WatchedNccl::settle(const char* call) {
  peers_.stand(std::string("waits for ") + call);
  const auto until = Clock::now() + peers_.deadline();
  for (int turn = 0;; ++turn) {
    std::string failed;
    {
      const std::lock_guard lock(comm_mutex_);
      if (comm_ == nullptr) return peers_.require_alive();
      ncclResult_t state = ncclSuccess;
      check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
      if (state == ncclSuccess) return;
      if (state != ncclInProgress) failed = words_of(state);
    }
    if (failed.empty() && Clock::now() >= until) {
      failed = peers_.name() + ": " + call + " did not end within " + std::to_string(peers_.deadline().count()) + " ms";
    }
    if (!failed.empty()) peers_.fail(failed);
    peers_.rest(turn);
    peers_.require_alive();
  }
}

void WatchedNccl::await_abort() {
  if (peers_.failure().empty()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_aborted_; });
}

void WatchedNccl::stop() noexcept {
  if (!watchdog_.joinable()) return;
  {
    const std::lock_guard lock(comm_mutex_);
    if (comm_ != nullptr && peers_.failure().empty()) {
      ncclCommFinalize(comm_);
      ncclResult_t state = ncclInProgress;
      const auto until = Clock::now() + peers_.deadline();
      while (ncclCommGetAsyncError(comm_, &state) == ncclSuccess && state == ncclInProgress && Clock::now() < until) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      ncclCommDestroy(std::exchange(comm_, nullptr));
    }
  }
  await_abort();
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
  }
  watchdog_.join();
  if (abort_.joinable()) abort_.join();
}

void WatchedNccl::watch() {
  Clock::time_point abort_until{};
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    changed_.wait_for(lock, kWatchdogRound);
    lock.unlock();
    ask_for_errors();
    peers_.tell_failure();
    const bool has_failed = !peers_.failure().empty();
    lock.lock();
    if (!has_failed || is_aborted_) continue;
    if (!abort_.joinable()) {
      abort_until = Clock::now() + peers_.deadline();
      abort_ = std::thread([this] { abort(); });
    } else if (Clock::now() >= abort_until) {
      end_stuck();
    }
  }
}

void WatchedNccl::ask_for_errors() {
  const std::unique_lock lock(comm_mutex_, std::try_to_lock);
  if (!lock.owns_lock() || comm_ == nullptr) return;
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  if (asked != ncclSuccess) state = asked;
  if (state == ncclSuccess || state == ncclInProgress) return;
  peers_.fail_once(words_of(state));
}

std::string WatchedNccl::words_of(ncclResult_t state) const {
  return peers_.name() + ": NCCL reports " + ncclGetErrorString(state) + " (" + ncclGetLastError(comm_) +
         "), while this rank " + peers_.standing();
}

void WatchedNccl::abort() {
  ncclComm_t comm = nullptr;
  {
    const std::lock_guard lock(comm_mutex_);
    comm = std::exchange(comm_, nullptr);
  }
  if (comm != nullptr) ncclCommAbort(comm);
  const std::lock_guard lock(mutex_);
  is_aborted_ = true;
  changed_.notify_all();
}

void WatchedNccl::end_stuck() {
  const std::string text =
      "ringproof: " + peers_.name() + " cannot stop NCCL and ends; it " + peers_.standing() + "; " + peers_.failure();
  if (on_stuck_) on_stuck_(text);
  std::fprintf(stderr, "%s\n", text.c_str());
  std::fflush(stderr);
  _exit(kExitInconclusive);
}

}  // namespace ringproof

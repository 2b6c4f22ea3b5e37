// Two streams and the peers beside them. exchange() tells each peer what it has posted (header and length), and gives
// NCCL one group of sends and receives, on the communication stream, behind the events it comes after. compute() gives
// its work to the computation stream, likewise. Nobody but wait() waits for the device; it asks events in a loop that
// also hears of other ranks and looks at the clock.
//
// An exchange has happened when its event has and every header has met its counterpart. A header that does not match
// fails the job; then what NCCL does with unequal lengths does not matter, since it is aborted. Messages of no bytes
// are headers alone, so nothing of them is on a stream: whatever comes after them is held on the host.

#include "distributed/communicator_nccl.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "distributed/collectives.h"
#include "distributed/communicator_nccl_comm.h"
#include "distributed/communicator_nccl_memory.h"
#include "distributed/job_peers.h"
#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Clock = std::chrono::steady_clock;
using Transfers = std::vector<std::shared_ptr<PostedTransfer>>;

constexpr std::size_t kComputesMax = 16;  // given to the stream and not ended; then the caller is held

std::string words(const PostedTransfer& one) { return words(one.header, one.bytes.size(), one.is_send, one.peer); }

// Where a rank's GPU is, in words that are equal for two ranks only if NCCL would refuse them both.
std::string words_of_gpu(int device) {
  char bus[32] = {}, host[256] = {};
  check(cudaDeviceGetPCIBusId(bus, sizeof bus, device), "cudaDeviceGetPCIBusId");
  gethostname(host, sizeof host - 1);
  const char* const host_id = std::getenv("NCCL_HOSTID");
  return "GPU " + std::string(bus) + " of " + host + (host_id == nullptr ? "" : std::string(" as ") + host_id);
}

void require_gpus_apart(const std::vector<std::string>& gpus) {
  const char* const shared = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  if (shared != nullptr && std::string(shared) == "1") return;
  for (std::size_t a = 0; a < gpus.size(); ++a) {
    for (std::size_t b = a + 1; b < gpus.size(); ++b) {
      if (gpus[a] != gpus[b]) continue;
      throw InputError(
          "ranks " + std::to_string(a) + " and " + std::to_string(b) + " share the " + gpus[a] +
          ", which NCCL refuses; give each rank a GPU of its own, or each its own NCCL_HOSTID for a slow " +
          "test on one");
    }
  }
}

}  // namespace

class NcclJob::World final : public Communicator {
 public:
  explicit World(NcclPlace place)
      : device_(place.device),
        peers_(place.rank, place.rank_count, std::move(place.sockets), place.deadline),
        nccl_(peers_, std::move(place.on_stuck)) {
    bool is_consequence = false;
    try {
      start();
      return;
    } catch (const GroupFailed&) {
      is_consequence = true;
    } catch (const InputError&) {  // which every rank meets
      stop();
      throw;
    } catch (const std::exception& error) {
      const std::string sentence = error.what();
      peers_.fail(sentence.starts_with(peers_.name()) ? sentence : peers_.name() + ": " + sentence);
    }
    withdraw();
    const std::string cause = peers_.end(is_consequence);
    stop();
    throw Error(cause);
  }

  ~World() override { stop(); }

  int rank() const override { return peers_.rank(); }
  int rank_count() const override { return peers_.rank_count(); }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return pool_->take(bytes); }

  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    require_alive();
    Happening now;
    for (const Receive& receive : exchange.receives) {
      now.transfers.push_back(transfer(false, receive.peer, receive.header, receive.bytes));
    }
    for (const Send& send : exchange.sends) {
      const std::span<std::byte> bytes{const_cast<std::byte*>(send.bytes.data()), send.bytes.size()};
      now.transfers.push_back(transfer(true, send.peer, send.header, bytes));
    }
    bool moves = false, is_held = false;
    for (const auto& one : now.transfers) (one->bytes.empty() ? is_held : moves) = true;
    for (const Event& event : after) {
      if (is_held || is_beyond_streams(event)) wait(event);
    }
    const Event event = keep(std::move(now));  // from here on the peers may meet its transfers
    Happening& kept = happenings_.at(event.id);
    for (const auto& one : kept.transfers) peers_.post(one);
    if (!moves) return event;
    for (const Event& before : after) order_after(before, communication_);
    nccl_.post(kept.transfers, communication_);
    kept.event = take_event();
    check(cudaEventRecord(kept.event, communication_), "cudaEventRecord");
    return event;
  }

  Event compute(const Compute& compute, std::span<const Event> after) override {
    require_alive();
    for (const Event& event : after) {
      if (is_beyond_streams(event)) wait(event);
    }
    retire_computes();
    while (computes_.size() >= kComputesMax) wait(computes_.front());
    Happening now;
    now.name = compute.name;
    now.step = compute.step;
    for (const Event& event : after) order_after(event, computation_);
    if (compute.enqueues) {
      peers_.stand("enqueues " + compute.name + " of step " + std::to_string(compute.step));
      compute.run(computation_);
    } else {
      auto task = std::make_unique<HostTask>(HostTask{*this, compute});
      check(cudaLaunchHostFunc(computation_, run_host_task, task.get()), "cudaLaunchHostFunc");
      task.release();
    }
    const Event event = keep(std::move(now));
    computes_.push_back(event);
    Happening& kept = happenings_.at(event.id);
    kept.event = take_event();
    check(cudaEventRecord(kept.event, computation_), "cudaEventRecord");
    return event;
  }

  void wait(Event event) override {
    require_alive();
    assert_that(event.id <= last_id_, "an event belongs to its communicator");
    const auto found = happenings_.find(event.id);
    if (found == happenings_.end()) return;
    Happening& waited = found->second;
    const std::string late = " did not happen within " + std::to_string(peers_.deadline().count()) + " ms";
    const auto until = Clock::now() + peers_.deadline();
    for (int turn = 0; !has_happened(waited); ++turn) {
      const Happening& cause = cause_of(waited);
      const PostedTransfer* const pending = pending_of(cause);
      if (turn == 0) peers_.stand("waits for " + (pending ? words(*pending) : cause.name));
      if (pending != nullptr && peers_.is_lost(*pending)) refuse(*pending, words(*pending) + ": that rank has ended");
      if (Clock::now() >= until) {
        if (pending != nullptr) refuse(*pending, words(*pending) + late);
        throw Error(place(rank(), cause.step) + cause.name + late);
      }
      peers_.rest(turn);
      require_alive();
    }
    peers_.stand("goes on after " + (waited.transfers.empty() ? waited.name : words(*waited.transfers.back())));
    forget(found);
  }

  void barrier() override {
    const std::vector<std::span<std::byte>> nothing(static_cast<std::size_t>(rank_count()));
    Exchange exchange;
    add_all_gather(exchange, *this, {}, nothing, {0, -1, 0, -1});
    wait(this->exchange(exchange, {}));
  }

  void withdraw() noexcept override {
    try {
      for (const auto& [id, one] : happenings_) {
        if (one.transfers.empty() || may_leave(one)) continue;
        const PostedTransfer& pending = *pending_of(one);
        peers_.fail_once(place(rank(), pending.header.step) + "left before " + words(pending) + " had happened");
        break;
      }
      nccl_.await_abort();
      for (int turn = 0; !are_streams_idle(); ++turn) peers_.rest(turn);  // after an abort they wait for nobody
      while (!happenings_.empty()) forget(happenings_.begin());
    } catch (const std::exception& error) {
      peers_.fail_once(peers_.name() + ": " + error.what());
    }
  }

  void run(const std::function<void(Communicator&)>& body) {
    const auto [is_consequence, failure] = run_body(*this, body);
    withdraw();
    if (!failure.empty()) peers_.fail(failure);
    const std::string cause = peers_.end(is_consequence);
    if (!cause.empty()) throw Error(cause);
  }

  JobPeers& peers() { return peers_; }

 private:
  struct Happening {
    std::string name;  // of a computation
    int step = -1;
    Transfers transfers;
    cudaEvent_t event = nullptr;  // null: nothing of it is on a stream
  };

  struct HostTask {
    World& world;
    Compute compute;
  };

  void start() {
    check(cudaSetDevice(device_), "cudaSetDevice");
    int is_concurrent = 0;
    check(cudaDeviceGetAttribute(&is_concurrent, cudaDevAttrConcurrentManagedAccess, device_),
          "cudaDeviceGetAttribute");
    if (is_concurrent == 0) throw Error("this GPU or driver lets host and device not use managed memory together");
    require_gpus_apart(peers_.gather(words_of_gpu(device_)));
    check(cudaStreamCreateWithFlags(&computation_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaStreamCreateWithFlags(&communication_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    ncclUniqueId id{};
    if (rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::vector<std::byte> of_rank_0 = peers_.from_rank_0(std::as_bytes(std::span(&id, 1)));
    std::memcpy(&id, of_rank_0.data(), sizeof id);
    nccl_.make(id);
    connect_pairs();
  }

  // One byte between every pair, so that later groups find their connections made.
  void connect_pairs() {
    const auto count = static_cast<std::size_t>(rank_count());
    const std::shared_ptr<std::byte> sent = allocate(1), received = allocate(count);
    Exchange exchange;
    for (int peer = 0; peer < rank_count(); ++peer) {
      exchange.sends.push_back({peer, {sent.get(), 1}, {0, -1, rank(), -1}});
      exchange.receives.push_back({peer, {received.get() + peer, 1}, {0, -1, peer, -1}});
    }
    wait(this->exchange(exchange, {}));
  }

  void stop() noexcept {
    withdraw();
    nccl_.stop();
    peers_.close();
    while (!happenings_.empty()) forget(happenings_.begin());
    for (const cudaEvent_t event : free_events_) cudaEventDestroy(event);
    free_events_.clear();
    for (cudaStream_t* const stream : {&computation_, &communication_}) {
      if (*stream != nullptr) cudaStreamDestroy(std::exchange(*stream, nullptr));
    }
  }

  cudaEvent_t take_event() {
    cudaEvent_t event = nullptr;
    if (free_events_.empty()) {
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    } else {
      event = free_events_.back();
      free_events_.pop_back();
    }
    return event;
  }

  Event keep(Happening now) {
    happenings_.emplace(++last_id_, std::move(now));
    return {last_id_};
  }

  void forget(std::map<std::int64_t, Happening>::iterator at) {
    if (at->second.event != nullptr) free_events_.push_back(at->second.event);
    std::erase_if(computes_, [&](const Event& event) { return event.id == at->first; });
    happenings_.erase(at);
  }

  // Computations end in their order.
  void retire_computes() {
    while (!computes_.empty()) {
      const auto first = happenings_.find(computes_.front().id);
      if (!has_happened(first->second)) return;
      forget(first);
    }
  }

  void order_after(Event event, cudaStream_t stream) {
    const auto found = happenings_.find(event.id);
    if (found == happenings_.end() || found->second.event == nullptr) return;
    check(cudaStreamWaitEvent(stream, found->second.event, 0), "cudaStreamWaitEvent");
  }

  // Whether a stream alone would not wait for all of it.
  bool is_beyond_streams(Event event) const {
    const auto found = happenings_.find(event.id);
    if (found == happenings_.end()) return false;
    const Transfers& transfers = found->second.transfers;
    return std::any_of(transfers.begin(), transfers.end(), [](const auto& one) { return one->bytes.empty(); });
  }

  static bool has_ended(cudaEvent_t event) {
    const cudaError_t status = cudaEventQuery(event);
    if (status == cudaErrorNotReady) return false;
    check(status, "cudaEventQuery");
    return true;
  }

  bool has_happened(const Happening& one) {
    if (one.event != nullptr && !has_ended(one.event)) return false;
    return std::all_of(one.transfers.begin(), one.transfers.end(),
                       [&](const auto& other) { return peers_.is_met(*other); });
  }

  bool are_streams_idle() {
    for (const cudaStream_t stream : {computation_, communication_}) {
      if (stream == nullptr) continue;
      const cudaError_t status = cudaStreamQuery(stream);
      if (status == cudaErrorNotReady) return false;
      check(status, "cudaStreamQuery");
    }
    return true;
  }

  // Whether nothing of an exchange is under way. What was sent has gone, whether or not the peer's word of it has come;
  // the word of what was received is on its way, and is looked at.
  bool may_leave(const Happening& one) {
    if (one.event == nullptr || !has_ended(one.event)) return has_happened(one);
    const auto until = Clock::now() + peers_.deadline();
    for (const auto& transfer : one.transfers) {
      if (transfer->is_send && !transfer->bytes.empty()) continue;
      for (int turn = 0; !peers_.is_met(*transfer); ++turn) {
        if (transfer->bytes.empty() || Clock::now() >= until) return false;
        peers_.rest(turn);
        peers_.require_alive();
      }
    }
    return true;
  }

  // What keeps `waited` from happening: of a computation, the first exchange that has not happened, if any.
  const Happening& cause_of(const Happening& waited) {
    if (!waited.transfers.empty()) return waited;
    for (const auto& [id, one] : happenings_) {
      if (!one.transfers.empty() && !has_happened(one)) return one;
    }
    return waited;
  }

  const PostedTransfer* pending_of(const Happening& one) {
    for (const auto& transfer : one.transfers) {
      if (!peers_.is_met(*transfer)) return transfer.get();
    }
    return one.transfers.empty() ? nullptr : one.transfers.front().get();
  }

  // CUDA may not be called here.
  static void CUDART_CB run_host_task(void* given) {
    const std::unique_ptr<HostTask> task(static_cast<HostTask*>(given));
    World& world = task->world;
    if (!world.peers_.failure().empty() || world.thrown()) return;
    world.peers_.stand("computes " + task->compute.name + " of step " + std::to_string(task->compute.step));
    try {
      task->compute.run(nullptr);
    } catch (...) {
      const std::lock_guard lock(world.thrown_mutex_);
      world.thrown_ = std::current_exception();
    }
  }

  std::shared_ptr<PostedTransfer> transfer(bool is_send, int peer, const TransferHeader& header,
                                           std::span<std::byte> bytes) {
    auto one = std::make_shared<PostedTransfer>(PostedTransfer{is_send, peer, header, bytes});
    if (peer < 0 || peer >= rank_count()) {
      refuse(*one, words(header, bytes.size()) + " has peer " + std::to_string(peer) + ", outside [0, " +
                       std::to_string(rank_count()) + ")");
    }
    return one;
  }

  std::exception_ptr thrown() {
    const std::lock_guard lock(thrown_mutex_);
    return thrown_;
  }

  // What a computation threw comes out first, as it was.
  void require_alive() {
    if (const std::exception_ptr of_computation = thrown()) std::rethrow_exception(of_computation);
    peers_.require_alive();
  }

  [[noreturn]] void refuse(const PostedTransfer& one, const std::string& sentence) {
    const std::string whole = place(rank(), one.header.step) + sentence;
    peers_.fail(whole);
    throw Error(whole);
  }

  const int device_;
  std::shared_ptr<ManagedPool> pool_ = std::make_shared<ManagedPool>();
  cudaStream_t computation_ = nullptr, communication_ = nullptr;
  std::map<std::int64_t, Happening> happenings_;  // by event id: what may not have happened yet
  std::int64_t last_id_ = 0;
  std::deque<Event> computes_;
  std::vector<cudaEvent_t> free_events_;
  std::mutex thrown_mutex_;
  std::exception_ptr thrown_;  // by a computation
  JobPeers peers_;
  WatchedNccl nccl_;
};

NcclJob::NcclJob(NcclPlace place) : world_(std::make_unique<World>(std::move(place))) {}
NcclJob::~NcclJob() = default;
Communicator& NcclJob::world() { return *world_; }
void NcclJob::run(const std::function<void(Communicator&)>& body) { world_->run(body); }
void NcclJob::send(int rank, std::span<const std::byte> bytes) { world_->peers().send(rank, bytes); }
std::vector<std::byte> NcclJob::receive(int rank, bool is_patient) { return world_->peers().receive(rank, is_patient); }
void NcclJob::fail(const std::string& sentence) { world_->peers().fail(sentence); }
std::string NcclJob::failure() const { return world_->peers().failure(); }

ProcessJob process_job(NcclJob& job) {
  return {"NCCL",
          &job.world(),
          [&job](int rank, std::span<const std::byte> bytes) { job.send(rank, bytes); },
          [&job](int rank) { return job.receive(rank, false); },
          [&job](int rank) { return job.receive(rank, true); },
          [](std::span<const int>, bool) {},
          [](const std::function<void()>& task) { task(); },
          [&job](const std::string& sentence) { job.fail(sentence); },
          [&job] { return job.failure(); }};
}

}  // namespace ringproof

// A transfer is a message with header and length, and a short payload with them; a longer one follows, in pieces that
// fit MPI's int counts. All are posted at once, so that a payload travels while the rank computes where MPI makes
// progress by itself; Open MPI 4.1 makes none outside MPI calls. The header is compared when it arrives, before
// anything is said about the payload: whoever receives has room for a header and any short payload, wanted or not.
//
// With a deadline no wait blocks inside MPI: requests are tested in a loop that also looks for notices of other ranks
// and at the clock.
// After a failure no request is completed or freed, and memory of allocate() is kept: MPI may still write it. The
// process ends soon.
//
// Standard calls only (MPI 2), MPI_THREAD_FUNNELED.

#include "distributed/communicator_mpi.h"

#include <fcntl.h>
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "distributed/collectives.h"
#include "distributed/transfer_words.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytesMax = std::size_t{1} << 30;
constexpr std::size_t kShortBytesMax = std::size_t{1} << 14;  // of payloads that travel with their header
// Between a rank's last message and the notice of its end, which may overtake it: time, and looks, of which a process
// on a busy machine gets few.
constexpr milliseconds kGrace{500};
constexpr int kGraceTurns = 50;
constexpr int kExitInconclusive = 3;

enum Tag { kHeaderTag = 1, kPayloadTag = 2, kNoticeTag = 3, kMessageTag = 4, kBeatTag = 5 };

struct Wire {
  TransferHeader header;
  std::uint64_t count;
};
static_assert(sizeof(Wire) == kTransferHeaderBytes);

struct Notice {
  enum Kind : std::int32_t { kFailed, kEnded, kEndedByItsOwnFailure };
  Kind kind;
  char text[1020];
};

struct Transfer {
  bool is_send;
  int peer;
  TransferHeader header;
  std::span<std::byte> bytes;            // only read when is_send
  std::unique_ptr<std::byte[]> first{};  // the header's message: a Wire and, of a short payload, all bytes
  MPI_Request header_request = MPI_REQUEST_NULL;
  std::vector<MPI_Request> payload{};
  bool is_done = false;

  bool is_short() const { return bytes.size() <= kShortBytesMax; }
};

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(std::string(call) + ": " + std::string(text, static_cast<std::size_t>(length)));
}

std::string words(const Transfer& transfer) {
  return words(transfer.header, transfer.bytes.size(), transfer.is_send, transfer.peer);
}

// Where this rank stands, readable by a signal handler at any time: two texts, of which one is whole.
char standing_texts[2][512];
std::atomic<int> standing_now = 0;
std::string standing;

void stand(const std::string& text) {
  standing = text;
  const int next = 1 - standing_now.load();
  std::snprintf(standing_texts[next], sizeof standing_texts[next], "ringproof: %s\n", text.c_str());
  standing_now = next;
}

// Where the report goes besides stderr, whose end mpirun may not forward any more; empty: nowhere.
char report_file[512];

extern "C" void report_and_exit(int) {
  const char* const text = standing_texts[standing_now.load()];
  const int file = report_file[0] == '\0' ? -1 : open(report_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  bool is_written = file >= 0 && write(file, text, std::strlen(text)) >= 0;
  is_written = write(STDERR_FILENO, text, std::strlen(text)) >= 0 || is_written;
  _exit(is_written ? kExitInconclusive : kExitInconclusive + 1);
}

}  // namespace

class MpiJob::World final : public Communicator {
 public:
  explicit World(milliseconds deadline) : deadline_(deadline), has_deadline_(deadline != kNoDeadline) {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    for (MPI_Comm* const comm : {&data_, &notices_, &messages_}) {
      check(MPI_Comm_dup(MPI_COMM_WORLD, comm), "MPI_Comm_dup");
      check(MPI_Comm_set_errhandler(*comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    }
    check(MPI_Comm_rank(data_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(data_, &rank_count_), "MPI_Comm_size");
    has_ended_.resize(static_cast<std::size_t>(rank_count_));
    causes_.resize(static_cast<std::size_t>(rank_count_));
    stand_computing("nothing yet", -1);
    if (const char* const folder = std::getenv(kMpiReportsVariable)) {
      std::snprintf(report_file, sizeof report_file, "%s/rank-%d", folder, rank_);
    }
    std::signal(SIGTERM, report_and_exit);
  }

  int rank() const override { return rank_; }
  int rank_count() const override { return rank_count_; }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    const std::shared_ptr<std::byte> memory = Communicator::allocate(bytes);
    std::erase_if(allocated_, [](const std::weak_ptr<std::byte>& one) { return one.expired(); });
    allocated_.push_back(memory);
    return memory;
  }

  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    require_alive();
    std::vector<std::unique_ptr<Transfer>> transfers;
    for (const Receive& receive : exchange.receives) {
      transfers.push_back(transfer(false, receive.peer, receive.header, receive.bytes));
    }
    for (const Send& send : exchange.sends) {
      const std::span<std::byte> bytes{const_cast<std::byte*>(send.bytes.data()), send.bytes.size()};
      transfers.push_back(transfer(true, send.peer, send.header, bytes));
    }
    for (const std::unique_ptr<Transfer>& one : transfers) post(*one);
    if (!transfers.empty()) latest_ = words(*transfers.front());
    exchanges_.push_back(std::move(transfers));
    if (has_deadline_) test(exchanges_.back());
    return {static_cast<std::int64_t>(exchanges_.size())};
  }

  Event compute(const Compute& compute, std::span<const Event> after) override {
    for (const Event& event : after) wait(event);
    look_for_notices();
    require_alive();
    stand_computing(compute.name, compute.step);
    compute.run(nullptr);
    return {};
  }

  void wait(Event event) override {
    look_for_notices();
    require_alive();
    if (event.id == 0) return;
    assert_that(event.id <= static_cast<std::int64_t>(exchanges_.size()), "an event belongs to its communicator");
    auto& transfers = exchanges_[static_cast<std::size_t>(event.id - 1)];
    if (!has_deadline_) block(transfers);
    const auto until = Clock::now() + deadline_;
    const Transfer* named = nullptr;
    Clock::time_point grace_until{};
    int grace_turns = 0;
    for (int turn = 0; const Transfer* const pending = test(transfers); ++turn) {
      if (named != pending) stand("rank " + std::to_string(rank_) + " waits for " + words(*(named = pending)));
      const bool is_peer_gone = has_ended_[static_cast<std::size_t>(pending->peer)];
      if (is_peer_gone && grace_until == Clock::time_point{}) grace_until = Clock::now() + kGrace;
      if (is_peer_gone && ++grace_turns > kGraceTurns && Clock::now() >= grace_until) {
        refuse(*pending, words(*pending) + ": that rank has ended");
      }
      if (Clock::now() >= until) {
        refuse(*pending, words(*pending) + " did not happen within " + std::to_string(deadline_.count()) + " ms");
      }
      rest(turn);
      look_for_notices();
      require_alive();
    }
    if (!transfers.empty()) stand("rank " + std::to_string(rank_) + " goes on after " + words(*transfers.front()));
    transfers.clear();
  }

  void barrier() override {
    const std::vector<std::span<std::byte>> nothing(static_cast<std::size_t>(rank_count_));
    Exchange exchange;
    add_all_gather(exchange, *this, {}, nothing, {0, -1, 0, -1});
    wait(this->exchange(exchange, {}));
  }

  void withdraw() noexcept override {
    for (auto& transfers : exchanges_) {
      try {
        const Transfer* const pending = test(transfers);
        if (pending == nullptr) {
          transfers.clear();
          continue;
        }
        if (failure_.empty()) fail(place(*pending) + "left before " + words(*pending) + " had happened");
      } catch (const std::exception& error) {
        if (failure_.empty()) fail(error.what());
      }
      keep_memory();
    }
  }

  void run(const std::function<void(Communicator&)>& body) {
    const auto [is_consequence, failure] = run_body(*this, body);
    withdraw();
    if (!failure.empty()) fail(failure);
    const bool is_own = !is_consequence && !own_failure_.empty();
    causes_[static_cast<std::size_t>(rank_)] = is_own ? own_failure_ : "";
    tell(is_own ? Notice::kEndedByItsOwnFailure : Notice::kEnded, own_failure_);
    await_ends();
    for (const std::string& cause : causes_) {
      if (!cause.empty()) throw Error(cause);
    }
    if (!failure_.empty()) throw Error(failure_);
  }

  // The last sentence of a rank is its cause; the first is what others end by.
  void fail(const std::string& sentence) {
    own_failure_ = sentence;
    if (!failure_.empty()) return;
    failure_ = sentence;
    tell(Notice::kFailed, sentence);
  }

  void send(int rank, std::span<const std::byte> bytes) {
    require_alive();
    if (bytes.size() > kPieceBytesMax)
      throw Error("a message of more than 2^30 bytes for rank " + std::to_string(rank));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, rank, kMessageTag, messages_, &request),
          "MPI_Isend");
    until_true("a message to rank " + std::to_string(rank), -1, [&] { return is_done(request); });
  }

  std::vector<std::byte> receive(int rank, bool is_beating) {
    const std::string what = "a message from rank " + std::to_string(rank);
    MPI_Status status;
    const auto is_there = [&] {
      int found = 0;
      check(MPI_Iprobe(rank, kMessageTag, messages_, &found, &status), "MPI_Iprobe");
      return found != 0;
    };
    until_true(what, is_beating ? rank : -1, is_there);
    int count = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
    std::vector<std::byte> bytes(static_cast<std::size_t>(count));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(bytes.data(), count, MPI_BYTE, rank, kMessageTag, messages_, &request), "MPI_Irecv");
    until_true(what, -1, [&] { return is_done(request); });
    return bytes;
  }

  // A rank that has not taken its latest beat gets no other.
  void beat(std::span<const int> ranks, bool is_watched) {
    look_for_notices();
    beats_.resize(static_cast<std::size_t>(rank_count_), {MPI_REQUEST_NULL, 0});
    for (const int rank : ranks) {
      auto& [request, word] = beats_[static_cast<std::size_t>(rank)];
      if (request != MPI_REQUEST_NULL && !is_done(request)) continue;
      word = is_watched;
      check(MPI_Isend(&word, 1, MPI_INT, rank, kBeatTag, messages_, &request), "MPI_Isend");
    }
  }

  int end(int exit_code) {
    std::fflush(nullptr);
    if (!failure_.empty()) {
      MPI_Abort(MPI_COMM_WORLD, kExitInconclusive);
      return kExitInconclusive;
    }
    std::signal(SIGTERM, SIG_DFL);
    if (!is_finalized_) MPI_Finalize();
    is_finalized_ = true;
    return exit_code;
  }

  const std::string& failure() const { return failure_; }

 private:
  std::string place(const Transfer& transfer) const {
    return "rank " + std::to_string(rank_) + ", step " + std::to_string(transfer.header.step) + ": ";
  }

  void require_alive() const {
    if (!failure_.empty()) {
      throw GroupFailed(standing + " and ended because another failed: " + failure_);
    }
  }

  [[noreturn]] void refuse(const Transfer& transfer, const std::string& sentence) {
    fail(place(transfer) + sentence);
    throw Error(own_failure_);
  }

  std::unique_ptr<Transfer> transfer(bool is_send, int peer, const TransferHeader& header, std::span<std::byte> bytes) {
    auto one = std::make_unique<Transfer>(Transfer{is_send, peer, header, bytes});
    if (peer < 0 || peer >= rank_count_) {
      refuse(*one, words(header, bytes.size()) + " has peer " + std::to_string(peer) + ", outside [0, " +
                       std::to_string(rank_count_) + ")");
    }
    return one;
  }

  void post(Transfer& one) {
    const Wire wire{one.header, one.bytes.size()};
    const std::size_t sent_with_it = one.is_short() ? one.bytes.size() : 0;
    const std::size_t first_bytes = sizeof wire + (one.is_send ? sent_with_it : kShortBytesMax);
    one.first = std::make_unique_for_overwrite<std::byte[]>(first_bytes);
    if (one.is_send) {
      std::memcpy(one.first.get(), &wire, sizeof wire);
      std::copy_n(one.bytes.begin(), sent_with_it, one.first.get() + sizeof wire);
    }
    const auto start = [&](void* bytes, std::size_t count, int tag, MPI_Request& request) {
      one.is_send
          ? check(MPI_Isend(bytes, static_cast<int>(count), MPI_BYTE, one.peer, tag, data_, &request), "MPI_Isend")
          : check(MPI_Irecv(bytes, static_cast<int>(count), MPI_BYTE, one.peer, tag, data_, &request), "MPI_Irecv");
    };
    start(one.first.get(), first_bytes, kHeaderTag, one.header_request);
    if (one.is_short()) return;
    for (std::size_t at = 0; at < one.bytes.size(); at += kPieceBytesMax) {
      one.payload.push_back(MPI_REQUEST_NULL);
      start(one.bytes.data() + at, std::min(kPieceBytesMax, one.bytes.size() - at), kPayloadTag, one.payload.back());
    }
  }

  // Moves transfers on; the first that has not ended, or null.
  const Transfer* test(std::vector<std::unique_ptr<Transfer>>& transfers) {
    const Transfer* pending = nullptr;
    for (const std::unique_ptr<Transfer>& one : transfers) {
      if (!one->is_done) one->is_done = test(*one);
      if (!one->is_done && pending == nullptr) pending = one.get();
    }
    return pending;
  }

  bool test(Transfer& one) {
    int is_done = 0;
    if (one.header_request != MPI_REQUEST_NULL) {
      check(MPI_Test(&one.header_request, &is_done, MPI_STATUS_IGNORE), "MPI_Test");
      if (!is_done) return false;
      if (!one.is_send) take_first(one);
    }
    for (MPI_Request& request : one.payload) {
      check(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE), "MPI_Test");
      if (!is_done) return false;
    }
    return true;
  }

  void take_first(const Transfer& one) {
    Wire wire;
    std::memcpy(&wire, one.first.get(), sizeof wire);
    if (!(wire.header == one.header && wire.count == one.bytes.size())) {
      refuse(one, "wanted " + words(one) + ", got " + words(wire.header, wire.count));
    }
    if (one.is_short()) std::copy_n(one.first.get() + sizeof wire, one.bytes.size(), one.bytes.begin());
  }

  void block(std::vector<std::unique_ptr<Transfer>>& transfers) {
    const auto complete = [](std::vector<MPI_Request>& requests) {
      check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
      requests.clear();
    };
    std::vector<MPI_Request> requests;
    for (const std::unique_ptr<Transfer>& one : transfers) {
      if (!one->is_done) requests.push_back(one->header_request);
    }
    complete(requests);
    for (const std::unique_ptr<Transfer>& one : transfers) {
      if (one->is_done) continue;
      if (!one->is_send) take_first(*one);
      requests.insert(requests.end(), one->payload.begin(), one->payload.end());
      one->is_done = true;
    }
    if (!requests.empty()) complete(requests);
  }

  // To all others. Buffers stay, since nobody waits for these.
  void tell(Notice::Kind kind, const std::string& text) {
    if (!has_deadline_) return;  // nobody looks
    told_.push_back({kind, {}});
    std::snprintf(told_.back().text, sizeof told_.back().text, "%s", text.c_str());
    for (int peer = 0; peer < rank_count_; ++peer) {
      MPI_Request request = MPI_REQUEST_NULL;
      if (peer == rank_) continue;
      MPI_Isend(&told_.back(), sizeof(Notice), MPI_BYTE, peer, kNoticeTag, notices_, &request);
      notice_requests_.push_back(request);
    }
  }

  void look_for_notices() {
    while (has_deadline_) {
      int is_there = 0;
      MPI_Status status;
      check(MPI_Iprobe(MPI_ANY_SOURCE, kNoticeTag, notices_, &is_there, &status), "MPI_Iprobe");
      if (!is_there) return;
      Notice notice;
      check(MPI_Recv(&notice, sizeof notice, MPI_BYTE, status.MPI_SOURCE, kNoticeTag, notices_, MPI_STATUS_IGNORE),
            "MPI_Recv");
      const auto from = static_cast<std::size_t>(status.MPI_SOURCE);
      if (notice.kind == Notice::kEndedByItsOwnFailure) causes_[from] = notice.text;
      if (notice.kind != Notice::kFailed) has_ended_[from] = true;
      if (notice.kind == Notice::kFailed && failure_.empty()) failure_ = notice.text;
    }
  }

  // Every rank tells its end; one that is dead or stopped keeps the others for a deadline at most.
  void await_ends() {
    has_ended_[static_cast<std::size_t>(rank_)] = true;
    const auto until = Clock::now() + deadline_;
    for (int turn = 0; std::find(has_ended_.begin(), has_ended_.end(), false) != has_ended_.end(); ++turn) {
      stand("rank " + std::to_string(rank_) + " has ended and waits for the others to");
      if (Clock::now() >= until) {
        fail("rank " + std::to_string(rank_) + ": not all ranks ended within " + std::to_string(deadline_.count()) +
             " ms");
        return;
      }
      rest(turn);
      look_for_notices();
    }
    MPI_Waitall(static_cast<int>(notice_requests_.size()), notice_requests_.data(), MPI_STATUSES_IGNORE);
    notice_requests_.clear();
  }

  static bool is_done(MPI_Request& request) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
  }

  // The latest of the beats that have come from a rank, if any has: whether others watch it.
  std::optional<bool> take_beats(int rank) {
    std::optional<bool> latest;
    for (int is_there = 1; is_there != 0;) {
      check(MPI_Iprobe(rank, kBeatTag, messages_, &is_there, MPI_STATUS_IGNORE), "MPI_Iprobe");
      int is_watched = 0;
      if (!is_there) continue;
      check(MPI_Recv(&is_watched, 1, MPI_INT, rank, kBeatTag, messages_, MPI_STATUS_IGNORE), "MPI_Recv");
      latest = is_watched != 0;
    }
    return latest;
  }

  // `rank_beating`: whose beats make the deadline run anew; -1 none.
  template <class Test>
  void until_true(const std::string& what, int rank_beating, const Test& is_true) {
    auto until = Clock::now() + deadline_;
    bool has_deadline = true;
    stand("rank " + std::to_string(rank_) + " waits for " + what);
    for (int turn = 0; !is_true(); ++turn) {
      const std::optional<bool> is_watched = rank_beating < 0 ? std::nullopt : take_beats(rank_beating);
      if (is_watched) {
        until = Clock::now() + deadline_;
        has_deadline = !*is_watched;
      }
      if (has_deadline && Clock::now() >= until) {
        const std::string sign = rank_beating < 0 ? "" : ", nor a sign of life,";
        fail("rank " + std::to_string(rank_) + ": " + what + sign + " did not come within " +
             std::to_string(deadline_.count()) + " ms");
        throw Error(own_failure_);
      }
      rest(turn);
      look_for_notices();
      require_alive();
    }
  }

  // Ranks share cores: first let others run, then sleep longer and longer.
  static void rest(int turn) {
    if (turn < 200) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(turn, 1000)));
    }
  }

  void stand_computing(const std::string& name, int step) {
    std::string text = "rank " + std::to_string(rank_) + " computes " + name + " of step " + std::to_string(step);
    for (std::size_t at = 0; !exchanges_.empty() && at < exchanges_.back().size(); ++at) {
      const Transfer& one = *exchanges_.back()[at];
      if (!one.is_done && !one.is_send) return stand(text + ", next comes " + words(one));
    }
    stand(text + (latest_.empty() ? "" : " after " + latest_));
  }

  // MPI may write there until the process ends.
  void keep_memory() {
    for (const std::weak_ptr<std::byte>& one : allocated_) {
      if (std::shared_ptr<std::byte> memory = one.lock()) kept_.push_back(std::move(memory));
    }
    allocated_.clear();
  }

  milliseconds deadline_;
  bool has_deadline_;
  MPI_Comm data_ = MPI_COMM_NULL, notices_ = MPI_COMM_NULL, messages_ = MPI_COMM_NULL;
  int rank_ = 0, rank_count_ = 0;
  std::vector<std::vector<std::unique_ptr<Transfer>>> exchanges_;  // by event id - 1
  std::string latest_;                                             // of the transfers posted, in words
  std::vector<std::weak_ptr<std::byte>> allocated_;
  std::vector<std::shared_ptr<std::byte>> kept_;
  std::deque<Notice> told_;
  std::vector<std::pair<MPI_Request, int>> beats_;  // by rank: the latest, and what it says
  std::vector<MPI_Request> notice_requests_;
  std::vector<bool> has_ended_;
  std::vector<std::string> causes_;    // of ranks that ended by their own failure
  std::string failure_, own_failure_;  // the first heard of; this rank's own
  bool is_finalized_ = false;
};

MpiJob::MpiJob(milliseconds deadline) : world_(std::make_unique<World>(deadline)), errands_(deadline / 8) {}
MpiJob::~MpiJob() { world_->end(0); }

void MpiJob::run_beside(const std::function<void()>& work) {
  std::vector<int> others;
  for (int rank = 0; rank < world_->rank_count(); ++rank) {
    if (rank != world_->rank()) others.push_back(rank);
  }
  std::exception_ptr thrown;
  std::thread worker([&] {
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
    errands_.finish();
  });
  errands_.serve([&] {
    try {
      if (world_->failure().empty()) world_->beat(others, false);
    } catch (const Error& error) {
      world_->fail(error.what());
    }
  });
  worker.join();
  if (thrown) std::rethrow_exception(thrown);
}

void MpiJob::on_own_thread(const std::function<void()>& task) {
  std::this_thread::get_id() == owner_ ? task() : errands_.ask(task);
}
Communicator& MpiJob::world() { return *world_; }
void MpiJob::run(const std::function<void(Communicator&)>& body) { world_->run(body); }
void MpiJob::send(int rank, std::span<const std::byte> bytes) { world_->send(rank, bytes); }
std::vector<std::byte> MpiJob::receive(int rank) { return world_->receive(rank, false); }
std::vector<std::byte> MpiJob::receive_while_it_beats(int rank) { return world_->receive(rank, true); }
void MpiJob::beat(std::span<const int> ranks, bool is_watched) { world_->beat(ranks, is_watched); }
void MpiJob::fail(const std::string& sentence) { world_->fail(sentence); }

std::string MpiJob::failure() {
  std::string failure;
  on_own_thread([&] { failure = world_->failure(); });
  return failure;
}

int MpiJob::end(int exit_code) { return world_->end(exit_code); }

ProcessJob process_job(MpiJob& job) {
  return {"MPI",
          &job.world(),
          [&job](int rank, std::span<const std::byte> bytes) { job.send(rank, bytes); },
          [&job](int rank) { return job.receive(rank); },
          [&job](int rank) { return job.receive_while_it_beats(rank); },
          [&job](std::span<const int> ranks, bool is_watched) { job.beat(ranks, is_watched); },
          [&job](const std::function<void()>& task) { job.on_own_thread(task); },
          [&job](const std::string& sentence) { job.fail(sentence); },
          [&job] { return job.failure(); }};
}

bool is_in_mpi_job() {
  for (const char* const name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

}  // namespace ringproof

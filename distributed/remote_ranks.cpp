// One process judges, all compute. The judge calls ranks concurrently, each by a function of its own; MPI wants one
// thread. So calls are collected until every rank has made one, then the thread of MPI ships those of other processes,
// makes its own, and brings the answers back. Processes that a topology does not need hear before it that the others
// watch each other, and after it that their own watch begins again.
//
// A message is a row of fields, each a length and its bytes. The problem travels as a Case line, which says it to the
// last bit. Outputs travel there too, so that an element nobody writes comes back as it was.

#include "distributed/remote_ranks.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "distributed/buffer.h"
#include "distributed/communicator_subgroup.h"
#include "reference/spec/case.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

constexpr std::array kTallies{&RankReport::bytes_sent, &RankReport::exchanges, &RankReport::memory_bytes_peak,
                              &RankReport::pairs};

class Message {
 public:
  Message() = default;
  explicit Message(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  void add(std::span<const std::byte> field) {
    const std::uint64_t count = field.size();
    const auto* const length = reinterpret_cast<const std::byte*>(&count);
    bytes_.insert(bytes_.end(), length, length + sizeof count);
    bytes_.insert(bytes_.end(), field.begin(), field.end());
  }
  void add(const std::string& text) { add(std::as_bytes(std::span(text))); }
  void add(std::int64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  void add(const RankReport& report) {
    for (const auto tally : kTallies) {
      add((report.*tally).got);
      add((report.*tally).want);
    }
    add(std::as_bytes(std::span(report.steps)));
  }
  void add(const Tensor& tensor) { add(std::span<const std::byte>(tensor.bytes())); }

  std::span<const std::byte> take() {
    std::uint64_t count = 0;
    assert_that(read_ + sizeof count <= bytes_.size(), "a message holds what is taken from it");
    std::memcpy(&count, bytes_.data() + read_, sizeof count);
    const std::span<const std::byte> field(bytes_.data() + read_ + sizeof count, count);
    read_ += sizeof count + count;
    return field;
  }
  std::string take_text() {
    const auto field = take();
    return {reinterpret_cast<const char*>(field.data()), field.size()};
  }
  std::int64_t take_number() {
    std::int64_t number = 0;
    std::memcpy(&number, take().data(), sizeof number);
    return number;
  }
  void take_into(const TensorView& dense) {
    const auto field = take();
    assert_that(field.size() == memory_of(dense).size(), "a tensor comes back with its size");
    if (!field.empty()) std::memcpy(dense.data, field.data(), field.size());
  }

  void take_into(RankReport& report) {
    for (const auto tally : kTallies) {
      (report.*tally).got = take_number();
      (report.*tally).want = take_number();
    }
    const auto field = take();
    report.steps.resize(field.size() / sizeof(StepTime));
    if (!field.empty()) std::memcpy(report.steps.data(), field.data(), field.size());
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t read_ = 0;
};

Tensor dense(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  copy_elements(view, tensor.view());
  return tensor;
}

// What one rank was asked by the judge.
struct Call {
  const Problem& problem;
  const TensorView &q, &k, &v, &out;
  const TensorView* lse;
};

Message request_of(const std::string& name, std::uint64_t case_id, const Call& call) {
  const Case c{Direction::kForward, call.problem, {RecipeKind::kGauss, 0, "", 0}, {}};
  Message message;
  message.add(name);
  message.add(static_cast<std::int64_t>(case_id));
  message.add(to_string(c));
  message.add(call.lse != nullptr ? 1 : 0);
  for (const TensorView* const view : {&call.q, &call.k, &call.v, &call.out}) message.add(dense(*view));
  if (call.lse != nullptr) message.add(dense(*call.lse));
  if (call.problem.has_sink) {
    message.add(std::as_bytes(std::span(call.problem.sink, static_cast<std::size_t>(call.problem.heads_q))));
  }
  return message;
}

std::vector<int> ranks_from(int begin, int end) {
  std::vector<int> ranks(static_cast<std::size_t>(end - begin));
  std::iota(ranks.begin(), ranks.end(), begin);
  return ranks;
}
std::vector<int> first_ranks(int count) { return ranks_from(0, count); }

// Lets one thread per rank call in, and makes the calls of all ranks together on the thread that serves.
class Meeting {
 public:
  explicit Meeting(int ranks) : calls_(static_cast<std::size_t>(ranks)), absent_(ranks) {}

  // On a rank's thread: waits until the call has been made.
  Status call(int rank, const Call& asked) {
    std::unique_lock lock(mutex_);
    calls_[static_cast<std::size_t>(rank)].emplace(asked);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !calls_[static_cast<std::size_t>(rank)] || thrown_; });
    if (thrown_) std::rethrow_exception(thrown_);
    return status_;
  }

  void leave(std::exception_ptr thrown) {
    const std::lock_guard lock(mutex_);
    --absent_;
    if (thrown && !thrown_) thrown_ = thrown;
    changed_.notify_all();
  }

  // On the thread that serves, until all ranks have left; throws what a rank or `make` threw.
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
      for (std::optional<Call>& one : calls_) one.reset();
      waiting_ = 0;
      changed_.notify_all();
    }
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<Call>> calls_;
  int absent_, waiting_ = 0;
  Status status_ = Status::kOk;
  std::exception_ptr thrown_;
};

// Of process 0. A local step on a device reaches the transport's memory alone: tensors are copied there and back.
Status make_own_call(const RingComposition& composition, Communicator& communicator, std::uint64_t case_id,
                     const Call& own, RankReport& report) {
  if (!composition.local_step.enqueues) {
    return forward_on(composition, communicator, case_id, own.problem, own.q, own.k, own.v, own.out, own.lse, &report);
  }
  const auto moved = [&](const TensorView& view) {
    const Buffer buffer = make_buffer(communicator, "tensor", view.dtype, view.shape);
    copy_elements(view, buffer.view);
    return buffer;
  };
  const Buffer q = moved(own.q), k = moved(own.k), v = moved(own.v), out = moved(own.out);
  const Buffer lse = own.lse != nullptr ? moved(*own.lse) : Buffer{};
  const Status status = forward_on(composition, communicator, case_id, own.problem, q.view, k.view, v.view, out.view,
                                   own.lse != nullptr ? &lse.view : nullptr, &report);
  copy_elements(out.view, own.out);
  if (own.lse != nullptr) copy_elements(lse.view, *own.lse);
  return status;
}

Status make_calls(const ProcessJob& job, const RingComposition& composition, std::uint64_t case_id,
                  const std::vector<std::optional<Call>>& calls, std::vector<RankReport>& reports) {
  const auto ranks = static_cast<int>(calls.size());
  for (int rank = 1; rank < ranks; ++rank) {
    job.send(rank, request_of(composition.name, case_id, *calls[static_cast<std::size_t>(rank)]).bytes());
  }
  SubgroupCommunicator communicator(*job.world, first_ranks(ranks));
  Status status = make_own_call(composition, communicator, case_id, *calls.front(), reports.front());
  for (int rank = 1; rank < ranks; ++rank) {
    const Call& call = *calls[static_cast<std::size_t>(rank)];
    Message answer(job.receive(rank));
    status = std::max(status, static_cast<Status>(answer.take_number()));
    answer.take_into(reports[static_cast<std::size_t>(rank)]);
    const Tensor out(call.out.dtype, call.out.shape);
    answer.take_into(out.view());
    copy_elements(out.view(), call.out);
    if (call.lse == nullptr) continue;
    const Tensor lse(call.lse->dtype, call.lse->shape);
    answer.take_into(lse.view());
    copy_elements(lse.view(), *call.lse);
  }
  return status;
}

void on_processes(const ProcessJob& job, const RingComposition& composition, std::uint64_t& calls,
                  std::vector<RankReport>& reports, const Topology& topology, const RankBody& body) {
  const int ranks = topology.rank_count;
  if (!job.failure().empty()) throw Error("the " + job.transport + " job has failed: " + job.failure());
  if (ranks > job.world->rank_count()) {
    throw InputError("the topology " + to_string(topology) + " needs " + std::to_string(ranks) +
                     " processes and this " + job.transport + " job has " + std::to_string(job.world->rank_count()) +
                     "; start more");
  }
  reports.assign(static_cast<std::size_t>(ranks), {});
  Meeting meeting(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      std::exception_ptr thrown;
      try {
        body(rank, [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                       const TensorView& out, const TensorView* lse, void*) {
          return meeting.call(rank, {problem, q, k, v, out, lse});
        });
      } catch (...) {
        thrown = std::current_exception();
      }
      meeting.leave(thrown);
    });
  }
  std::exception_ptr thrown;
  try {
    job.on_own_thread([&] {
      const std::vector<int> idle = ranks_from(ranks, job.world->rank_count());
      job.beat(idle, true);
      meeting.serve([&](const std::vector<std::optional<Call>>& asked) {
        return make_calls(job, composition, ++calls, asked, reports);
      });
      job.beat(idle, false);
    });
  } catch (...) {
    thrown = std::current_exception();
  }
  for (std::thread& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

// One request, on the process of a rank.
Message answer_to(const ProcessJob& job, const std::vector<RingComposition>& compositions, Message& request) {
  const std::string name = request.take_text();
  const auto composition = std::find_if(compositions.begin(), compositions.end(),
                                        [&](const RingComposition& one) { return one.name == name; });
  assert_that(composition != compositions.end(), "all processes know the same candidates");
  const auto case_id = static_cast<std::uint64_t>(request.take_number());
  Problem problem = parse_case(request.take_text()).problem;
  MaskTables tables;
  tables.hand_to(problem);
  problem.rank = job.world->rank();
  const bool has_lse = request.take_number() != 0;
  const std::int64_t rows = owned_token_count(problem.topology, problem.rank, problem.seqlen_q);
  const std::int64_t keys = owned_token_count(problem.topology, problem.rank, problem.seqlen_kv);
  SubgroupCommunicator communicator(*job.world, first_ranks(problem.topology.rank_count));
  const auto tensor = [&](Dtype dtype, Shape shape, std::int64_t tokens) {
    shape[2] = tokens;
    const Buffer one = make_buffer(communicator, "tensor", dtype, shape);
    request.take_into(one.view);
    return one;
  };
  const Buffer q = tensor(problem.dtype, problem.shape_q(), rows), k = tensor(problem.dtype, problem.shape_k(), keys),
               v = tensor(problem.dtype, problem.shape_v(), keys),
               out = tensor(dtype_of_out(problem.dtype), problem.shape_out(), rows);
  const Buffer lse = has_lse ? tensor(dtype_of_lse(problem.dtype), problem.shape_lse(), rows) : Buffer{};
  std::vector<float> sink(static_cast<std::size_t>(problem.has_sink ? problem.heads_q : 0));
  if (problem.has_sink) {
    const auto field = request.take();
    assert_that(field.size() == sink.size() * sizeof(float), "a sink has a logit per query head");
    std::memcpy(sink.data(), field.data(), field.size());
    problem.sink = sink.data();
  }
  RankReport report;
  const Status status = forward_on(*composition, communicator, case_id, problem, q.view, k.view, v.view, out.view,
                                   has_lse ? &lse.view : nullptr, &report);
  Message answer;
  answer.add(static_cast<std::int64_t>(status));
  answer.add(report);
  answer.add(memory_of(out.view));
  if (has_lse) answer.add(memory_of(lse.view));
  return answer;
}

}  // namespace

Candidate remote_candidate(const ProcessJob& job, const RingComposition& composition) {
  Candidate candidate = ring_candidate(composition);
  const auto reports = std::make_shared<std::vector<RankReport>>();
  candidate.rank_reports = [reports] { return *reports; };
  const auto calls = std::make_shared<std::uint64_t>(0);
  candidate.on_ranks = [&job, composition, reports, calls](const Topology& topology, const RankBody& body) {
    on_processes(job, composition, *calls, *reports, topology, body);
  };
  if (!composition.local_step.enqueues) return candidate;
  // One rank, too, computes on the transport's memory.
  candidate.forward = [on_ranks = candidate.on_ranks](const Problem& problem, const TensorView& q, const TensorView& k,
                                                      const TensorView& v, const TensorView& out, const TensorView* lse,
                                                      void* stream) {
    Status status = Status::kError;
    on_ranks(problem.topology,
             [&](int, const Forward& forward) { status = forward(problem, q, k, v, out, lse, stream); });
    return status;
  };
  return candidate;
}

void serve_ranks(const ProcessJob& job, const std::vector<RingComposition>& compositions) {
  for (;;) {
    Message request(job.receive_next(0));
    if (request.bytes().empty()) return;
    try {
      job.send(0, answer_to(job, compositions, request).bytes());
    } catch (const std::exception& error) {
      const std::string name = "rank " + std::to_string(job.world->rank());
      const std::string sentence = error.what();
      if (job.failure().empty()) job.fail(sentence.starts_with(name) ? sentence : name + ": " + sentence);
      throw Error(sentence);
    }
  }
}

void end_service(const ProcessJob& job) {
  if (!job.failure().empty()) return;
  for (int rank = 1; rank < job.world->rank_count(); ++rank) job.send(rank, {});
}

}  // namespace ringproof

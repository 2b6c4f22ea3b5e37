// Every rank is a worker as any other; here they are started, asked and ended together. A rank that is gone leaves the
// others waiting for it, so the first failure gives them a moment to fail by themselves (whoever crashed is told from
// whoever saw it) and then ends them. A job in which one rank failed is never asked again: messages of the failed
// call may still be under way.

#include "candidates/rank_candidate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <iterator>
#include <thread>
#include <utility>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kOthersMayFailMax = std::chrono::milliseconds(1000);

// How one rank's part ended.
struct RankEnd {
  std::exception_ptr thrown;
  Status status = Status::kOk;
  bool is_ended_by_us = false;
};

// "ranks 0, 1 and 3"
std::string words_of(const std::vector<int>& ranks) {
  std::string words = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t at = 0; at < ranks.size(); ++at) {
    if (at > 0) words += at + 1 < ranks.size() ? ", " : " and ";
    words += std::to_string(ranks[at]);
  }
  return words;
}

std::string sentence_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "threw something that is no std::exception";
  }
}

class RankWorkers : public std::enable_shared_from_this<RankWorkers> {
 public:
  RankWorkers(std::string name, const WorkerSetting& setting, RankLauncher launcher)
      : name_(std::move(name)),
        setting_(setting),
        launcher_(std::move(launcher)),
        is_for_one_call_(name_.starts_with("cmd:") && launcher_.name != "spawn") {}
  ~RankWorkers() { end(); }

  // The first job, whose workers say what they are.
  DescribedWorker describe(int ranks) {
    start(ranks);
    rethrow_first(together(ranks, [&](int rank) { meet(rank); }));
    require_one_kind();
    const DescribedWorker& first = *workers_.front();
    DescribedWorker described{first.candidate, first.notes, {}, {}, first.said};
    Candidate& candidate = described.candidate;
    if (!candidate.not_run_reason.empty()) return described;
    const auto self = shared_from_this();
    const std::uint32_t schedules = candidate.describe(Dtype::kDefault, Direction::kForward).schedules;
    if ((schedules & ~bit_of(Schedule::kSingle)) == 0) {
      throw InputError(name_ +
                       " declares no schedule of several ranks; name those it runs in its description's schedules, or "
                       "leave --launcher out");
    }
    candidate.forward = [self](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                               const TensorView& out, const TensorView* lse, void* stream) {
      Status status = Status::kOk;
      self->call({Schedule::kSingle},
                 [&](int, const Forward& forward) { status = forward(problem, q, k, v, out, lse, stream); });
      return status;
    };
    candidate.on_ranks = [self](const Topology& topology, const RankBody& body) { self->call(topology, body); };
    candidate.share = [self](const std::vector<SharedRegion>& regions) { self->regions_ = regions; };
    candidate.structure_faults = [self] { return self->faults(); };
    candidate.forget = [self] { self->is_spent_ = true; };
    return described;
  }

 private:
  void call(const Topology& topology, const RankBody& body) {
    const int ranks = topology.rank_count;
    faults_.clear();
    if (job_ == nullptr || job_->ranks() != ranks || is_spent_) start(ranks);
    is_spent_ = is_for_one_call_;
    require_all(together(ranks, [&](int rank) { meet(rank); }));
    require_one_kind();
    share(ranks);
    std::vector<RankEnd> ends = together(ranks, [&](int rank) {
      const DescribedWorker& worker = *workers_[static_cast<std::size_t>(rank)];
      body(rank, [&](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                     const TensorView& out, const TensorView* lse, void* stream) {
        const Status status = worker.candidate.forward(problem, q, k, v, out, lse, stream);
        statuses_[static_cast<std::size_t>(rank)] = status;
        return status;
      });
    });
    for (int rank = 0; rank < ranks; ++rank) {
      ends[static_cast<std::size_t>(rank)].status = statuses_[static_cast<std::size_t>(rank)];
      for (const std::string& fault : workers_[static_cast<std::size_t>(rank)]->candidate.structure_faults()) {
        faults_.push_back(fault + (ranks > 1 ? " on rank " + std::to_string(rank) : ""));
      }
    }
    require_all(ends);
  }

  std::vector<std::string> faults() const { return faults_; }

  void start(int ranks) {
    end();
    if (workers_.size() < static_cast<std::size_t>(ranks)) workers_.resize(static_cast<std::size_t>(ranks));
    is_spent_ = false;
    job_ = std::make_unique<RankJob>(launcher_, worker_command(name_, setting_), ranks);
  }

  void end() {
    for (const auto& worker : workers_) {
      if (worker != nullptr) worker->stop();
    }
    job_.reset();
  }

  // On a rank's thread: a worker that describes itself as all do, in the job of now.
  void meet(int rank) {
    std::unique_ptr<DescribedWorker>& worker = workers_[static_cast<std::size_t>(rank)];
    if (worker != nullptr) return worker->revive();
    worker = std::make_unique<DescribedWorker>(worker_candidate(name_, setting_, [this, rank] {
      std::unique_ptr<WorkerProcess> process = job_->take(rank);
      assert_that(process != nullptr, "a job is started anew before its workers are");
      process->watch_with([this, rank] { watch(rank); });
      return process;
    }));
  }

  void require_one_kind() const {
    for (std::size_t rank = 1; rank < workers_.size(); ++rank) {
      if (workers_[rank]->said == workers_.front()->said) continue;
      throw InputError(name_ + " describes itself otherwise on rank " + std::to_string(rank) +
                       " than on rank 0; its description must not depend on the rank");
    }
  }

  // Runs `part` for every rank, on a thread each.
  template <class Part>
  std::vector<RankEnd> together(int ranks, const Part& part) {
    const auto count = static_cast<std::size_t>(ranks);
    std::vector<RankEnd> ends(count);
    first_failure_ms_ = -1;
    ended_by_us_.assign(count, 0);
    statuses_.assign(count, Status::kOk);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        RankEnd& mine = ends[static_cast<std::size_t>(rank)];
        try {
          part(rank);
        } catch (...) {
          mine.thrown = std::current_exception();
          std::int64_t none = -1;
          first_failure_ms_.compare_exchange_strong(none, now_ms());
        }
        mine.is_ended_by_us = ended_by_us_[static_cast<std::size_t>(rank)] != 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    return ends;
  }

  // Asked while a rank keeps us waiting.
  void watch(int rank) {
    const std::int64_t first = first_failure_ms_;
    if (first < 0 || now_ms() - first <= kOthersMayFailMax.count()) return;
    ended_by_us_[static_cast<std::size_t>(rank)] = 1;
    throw WorkerGone("was ended with its job");
  }

  std::int64_t now_ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count();
  }

  void share(int ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<SharedRegion> mine;
      std::copy_if(regions_.begin(), regions_.end(), std::back_inserter(mine),
                   [&](const SharedRegion& region) { return region.rank == rank; });
      workers_[static_cast<std::size_t>(rank)]->candidate.share(mine);
    }
  }

  // A first job that fails says so as a single worker does: bad input before all else.
  void rethrow_first(const std::vector<RankEnd>& ends) {
    for (const RankEnd& one : ends) {
      if (one.thrown == nullptr) continue;
      try {
        std::rethrow_exception(one.thrown);
      } catch (const InputError&) {
        throw;
      } catch (...) {
      }
    }
    require_all(ends);
  }

  // Ends the job and throws where a rank failed, or refused what another took.
  void require_all(const std::vector<RankEnd>& ends) {
    std::vector<std::pair<std::string, std::vector<int>>> causes;
    const auto blame = [&](const std::string& sentence, int rank) {
      const auto same =
          std::find_if(causes.begin(), causes.end(), [&](const auto& one) { return one.first == sentence; });
      if (same != causes.end()) return same->second.push_back(rank);
      causes.emplace_back(sentence, std::vector{rank});
    };
    const auto refused = static_cast<std::size_t>(std::count_if(ends.begin(), ends.end(), [](const RankEnd& one) {
      return one.thrown == nullptr && one.status == Status::kUnsupported;
    }));
    // A process that is gone explains an error that another returns, not the other way round.
    for (const bool is_gone : {true, false}) {
      for (std::size_t rank = 0; rank < ends.size(); ++rank) {
        const RankEnd& one = ends[rank];
        if (one.thrown == nullptr || one.is_ended_by_us) continue;
        const std::string sentence = sentence_of(one.thrown);
        if (sentence.starts_with("returned ") != is_gone) blame(sentence, static_cast<int>(rank));
      }
    }
    if (refused > 0 && refused < ends.size()) {
      for (std::size_t rank = 0; rank < ends.size(); ++rank) {
        const bool has_refused = ends[rank].thrown == nullptr && ends[rank].status == Status::kUnsupported;
        if (has_refused) blame("refused a Case that others took", static_cast<int>(rank));
      }
    }
    if (causes.empty()) return;
    end();
    std::string told;
    for (const auto& [sentence, ranks] : causes) told += (told.empty() ? "" : "; ") + words_of(ranks) + " " + sentence;
    throw Error(told);
  }

  std::string name_;
  WorkerSetting setting_;
  RankLauncher launcher_;
  // A command is a process a call, and a rank of a launcher's job meets the others once (MPI_Init).
  const bool is_for_one_call_;
  bool is_spent_ = false;  // the next call starts a job of its own
  std::unique_ptr<RankJob> job_;
  std::vector<std::unique_ptr<DescribedWorker>> workers_;
  std::vector<SharedRegion> regions_;
  std::vector<std::string> faults_;
  std::vector<Status> statuses_;  // of the latest calls
  const Clock::time_point begin_ = Clock::now();
  std::atomic<std::int64_t> first_failure_ms_ = -1;
  std::vector<char> ended_by_us_;  // an element a thread
};

}  // namespace

DescribedWorker rank_candidate(const std::string& name, const WorkerSetting& setting, const RankLauncher& launcher,
                               int ranks) {
  return std::make_shared<RankWorkers>(name, setting, launcher)->describe(ranks);
}

}  // namespace ringproof

// One rank of a ring in SimGrid's SMPI, where the ranks of MPI are simulated processes of one operating-system process
// and messages travel over a described network in simulated time:
//
//     smpirun -np P -platform FILE -hostfile FILE ringproof_at_scale FOLDER CASE
//
// Ring, transport and local step are those of every other run. A local step takes the simulated time that its
// operations take at the host's speed, and nothing else on a host takes any: times are the same on every machine.

#include "distributed/at_scale/ranks.h"

#include <simgrid/engine.h>
#include <smpi/smpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "distributed/at_scale/files.h"
#include "distributed/communicator_measuring.h"
#include "distributed/communicator_mpi.h"
#include "distributed/double_step.h"
#include "reference/spec/case.h"
#include "reference/spec/error.h"
#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

// Notes when each exchange is posted.
class ClockedCommunicator final : public Communicator {
 public:
  explicit ClockedCommunicator(Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int rank_count() const override { return inner_.rank_count(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  Event exchange(const Exchange& exchange, std::span<const Event> after) override {
    for (const Event& event : after) inner_.wait(event);
    times_s_.push_back(simgrid_get_clock());
    return inner_.exchange(exchange, {});
  }
  Event compute(const Compute& compute, std::span<const Event> after) override {
    return inner_.compute(compute, after);
  }
  void wait(Event event) override { inner_.wait(event); }
  void barrier() override { inner_.barrier(); }
  void withdraw() noexcept override { inner_.withdraw(); }

  std::vector<double> times_s() const { return times_s_; }

 private:
  Communicator& inner_;
  std::vector<double> times_s_;
};

LocalStep timed_step() {
  LocalStep step = double_step();
  step.run = [run = step.run](const LocalProblem& problem, const TensorView& q, const TensorView& k,
                              const TensorView& v, const TensorView& out, const TensorView& lse, void* stream) {
    run(problem, q, k, v, out, lse, stream);
    smpi_execute_flops(flop_per_pair(problem.head_dim_qk, problem.head_dim_v) *
                       static_cast<double>(visible_pairs(problem)));
  };
  return step;
}

void run_rank(MpiJob& job, const RunFiles& files, const std::string& line, const RankParts& parts) {
  Problem problem = parse_case(line).problem;
  MaskTables tables;
  tables.hand_to(problem);
  const int rank = problem.rank = job.world().rank();
  const auto read = [&](const char* name, Dtype dtype, const Shape& whole) {
    Tensor tensor = RunFiles::shard(problem, rank, dtype, whole);
    files.read(name, problem, rank, whole, tensor);
    return tensor;
  };
  const Tensor q = read("q", problem.dtype, problem.shape_q()), k = read("k", problem.dtype, problem.shape_k()),
               v = read("v", problem.dtype, problem.shape_v()),
               out = read("out", dtype_of_out(problem.dtype), problem.shape_out()),
               lse = read("lse", dtype_of_lse(problem.dtype), problem.shape_lse());
  const TensorView lse_view = lse.view();

  const std::unique_ptr<Communicator> wrapped = parts.wrap ? parts.wrap(job.world()) : nullptr;
  ClockedCommunicator clocked(wrapped ? *wrapped : job.world());
  RingComposition composition{"ring:double", timed_step(), 0, ring_forward, parts.ring, {}};
  RankReport report;
  const Status status =
      forward_on(composition, clocked, 1, problem, q.view(), k.view(), v.view(), out.view(), &lse_view, &report);
  std::vector<double> times_s = clocked.times_s();
  times_s.resize(static_cast<std::size_t>(problem.topology.rank_count - 1));
  times_s.push_back(simgrid_get_clock());

  files.write("out", problem, rank, problem.shape_out(), out);
  files.write("lse", problem, rank, problem.shape_lse(), lse);
  const std::size_t row_bytes = times_s.size() * sizeof(double);
  files.write("clock", times_s.data(), row_bytes, static_cast<std::int64_t>(row_bytes) * rank);
  const SimulatedRank left{report.bytes_sent, report.exchanges, report.memory_bytes_peak, report.pairs,
                           static_cast<std::int64_t>(status)};
  files.write("reports", &left, sizeof left, static_cast<std::int64_t>(sizeof left) * rank);
}

}  // namespace

int run_simulated_rank(int argc, char** argv, const RankParts& parts) {
  if (argc != 3) {
    std::fputs("usage: smpirun ... ringproof_at_scale FOLDER CASE; ringproof scale starts this itself\n", stderr);
    return 2;
  }
  MpiJob job(MpiJob::kNoDeadline);
  try {
    run_rank(job, RunFiles(argv[1]), argv[2], parts);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ringproof: %s\n", error.what());
    std::_Exit(3);  // ends all ranks: they are one process
  }
}

}  // namespace ringproof

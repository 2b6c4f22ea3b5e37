// What a ring costs beside its local step: n = 4096, d = 128, one head, fp32 storage, no mask, 4 ranks.
//
//     ringproof_ring_bench reference    the double reference in one process, on all cores
//     ringproof_ring_bench threads      the ring, its ranks threads
//     ringproof_ring_bench mpi          the ring, its ranks processes; under mpirun -n 4
//
// Prints the seconds of one run, and nothing else; ci/ring_bench.py runs them in turn and prints the ratios.

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "distributed/communicator_threads.h"
#include "distributed/double_step.h"
#include "distributed/ring.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/error.h"
#include "reference/spec/inputs.h"
#ifdef RINGPROOF_WITH_MPI
#include "distributed/communicator_mpi.h"
#endif

namespace ringproof {
namespace {

constexpr int kRanks = 4;
constexpr std::int64_t kTokens = 4096, kDim = 128;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Problem problem() {
  Problem whole{Dtype::kF32, {MaskKind::kFull}, 1, 1, 1, kTokens, kTokens, kDim, kDim, 0.088388346};
  whole.topology = {Schedule::kContiguous, kRanks};
  return whole;
}

Inputs inputs() { return make_inputs(problem(), {RecipeKind::kGauss, 0, "", 1}, {}); }

TensorView shard_of(TensorView view, int rank) {
  constexpr std::int64_t kOwn = kTokens / kRanks;
  view.data = view.at(0, 0, rank * kOwn, 0);
  view.shape[2] = kOwn;
  return view;
}

void run_ring(Communicator& communicator, const Inputs& whole, const Tensor& out, const Tensor& lse) {
  Problem mine = problem();
  mine.rank = communicator.rank();
  const TensorView lse_view = shard_of(lse.view(), mine.rank);
  ring_forward(communicator, double_step(), {}, mine, 1, shard_of(whole.q.view(), mine.rank),
               shard_of(whole.k.view(), mine.rank), shard_of(whole.v.view(), mine.rank),
               shard_of(out.view(), mine.rank), &lse_view);
}

double seconds_of_reference() {
  const Inputs whole = inputs();
  Problem single = problem();
  single.topology = {Schedule::kSingle};
  const auto begin = std::chrono::steady_clock::now();
  attention_forward(single, whole.q.view(), whole.k.view(), whole.v.view(),
                    static_cast<int>(std::thread::hardware_concurrency()));
  return seconds_since(begin);
}

double seconds_on_threads() {
  const Inputs whole = inputs();
  const Tensor out(Dtype::kF32, problem().shape_out()), lse(Dtype::kF32, problem().shape_lse());
  const auto begin = std::chrono::steady_clock::now();
  run_on_threads(kRanks, kDeadlineDefault,
                 [&](Communicator& communicator) { run_ring(communicator, whole, out, lse); });
  return seconds_since(begin);
}

#ifdef RINGPROOF_WITH_MPI
int run_over_mpi() {
  MpiJob job(kDeadlineDefault);
  const Inputs whole = inputs();
  const Tensor out(Dtype::kF32, problem().shape_out()), lse(Dtype::kF32, problem().shape_lse());
  job.run([&](Communicator& communicator) {
    communicator.barrier();
    const auto begin = std::chrono::steady_clock::now();
    run_ring(communicator, whole, out, lse);
    communicator.barrier();
    if (communicator.rank() == 0) std::printf("%.4f\n", seconds_since(begin));
  });
  std::fflush(stdout);
  return job.end(0);
}
#endif

int run(const std::string& mode) {
  if (mode == "reference" || mode == "threads") {
    std::printf("%.4f\n", mode == "reference" ? seconds_of_reference() : seconds_on_threads());
    return 0;
  }
#ifdef RINGPROOF_WITH_MPI
  if (mode == "mpi" && is_in_mpi_job()) return run_over_mpi();
#endif
  std::fprintf(stderr, "ring_bench: want reference, threads, or (under mpirun -n 4) mpi\n");
  return 2;
}

}  // namespace
}  // namespace ringproof

int main(int count, char** words) { return ringproof::run(count == 2 ? words[1] : ""); }

// `ringproof gate` over MPI with a ring in which one rank fails on purpose, for transport_test.py:
//
//     ringproof_rank_fault FAULT RANK FOLDER DEADLINE (--launcher mpirun | --transport mpi)
//
// FAULT: kill, stop or throw within the local step of step 0 of RANK. Of the judge, rank 0, before it asks anybody:
// idle, it stops; busy, it takes longer than the deadline, which is no fault.
// No clock takes part: the rank fails when every other has begun its first local step, which a file in FOLDER tells. At
// that time nobody can end: the others wait, at the latest, for the block that the rank was to send next.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "ci/transport.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

// Blocks of 128 KiB: beyond what Open MPI sends before the receiver has asked for it.
constexpr const char* kCase =
    "fwd/fp32/b1.hq4.hkv4.sq512.skv512.dqk64.dv64/causal_bottom_right/scale0.125/gauss:7/bhsd/contiguous4";
constexpr int kRanks = 4;

std::string fault;
int rank_bad;
double deadline_seconds;
fs::path folder;

void fail_when_all_compute() {
  for (int rank = 0; rank < kRanks; ++rank) {
    while (rank != rank_bad && !fs::exists(folder / ("computes-" + std::to_string(rank)))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  if (fault == "throw") throw Error("thrown on purpose");
  std::raise(fault == "kill" ? SIGKILL : SIGSTOP);
}

void faulty_ring(Communicator& communicator, const LocalStep& local_step, const RingParts& parts,
                 const Problem& problem, std::uint64_t case_id, const TensorView& q, const TensorView& k,
                 const TensorView& v, const TensorView& out, const TensorView* lse) {
  LocalStep faulty = local_step;
  bool has_begun = false;
  faulty.run = [&](const LocalProblem& local, const TensorView& q1, const TensorView& k1, const TensorView& v1,
                   const TensorView& out1, const TensorView& lse1, void* stream) {
    if (!has_begun && problem.rank == rank_bad) fail_when_all_compute();
    if (!has_begun) std::ofstream(folder / ("computes-" + std::to_string(problem.rank)));
    has_begun = true;
    local_step.run(local, q1, k1, v1, out1, lse1, stream);
  };
  ring_forward(communicator, faulty, parts, problem, case_id, q, k, v, out, lse);
}

RingComposition faulty_composition() {
  RingComposition composition = ring_compositions().front();
  if (fault != "idle" && fault != "busy") {
    composition.ring = faulty_ring;
    return composition;
  }
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  static bool has_acted = false;  // for every copy of the step
  has_acted = rank == nullptr || std::string(rank) != "0";
  const auto arithmetic = composition.local_step.arithmetic;  // the judge asks for it before its first call
  composition.local_step.arithmetic = [arithmetic](Dtype storage) {
    if (!std::exchange(has_acted, true)) {
      if (fault == "idle") std::raise(SIGSTOP);
      std::this_thread::sleep_for(std::chrono::duration<double>(1.5 * deadline_seconds));
    }
    return arithmetic(storage);
  };
  return composition;
}

int run_fault(int argc, char** argv) {
  if (argc != 7) {
    std::fputs("usage: ringproof_rank_fault FAULT RANK FOLDER DEADLINE (--launcher mpirun | --transport mpi)\n",
               stderr);
    return 2;
  }
  fault = argv[1];
  rank_bad = std::atoi(argv[2]);
  folder = argv[3];
  GateOptions options;
  options.arguments.assign(argv + 1, argv + argc);
  options.candidates = {"ring:double"};
  options.cases.lines = {kCase};
  options.shrink = false;
  options.threads = 1;
  options.deadline_seconds = deadline_seconds = std::atof(argv[4]);
  (std::string(argv[5]) == "--launcher" ? options.launcher : options.transport) = argv[6];
  options.rings = {faulty_composition()};
  return static_cast<int>(run_gate_on_transport(options));
}

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) {
  try {
    return ringproof::run_fault(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ringproof_rank_fault: %s\n", error.what());
    return 3;
  }
}

// Time of the kernels on the host runtime against the plain oracle, on the same Case, the same threads and in the same
// run, interleaved. Prints the ratios of medians at the end:
//
//   build/bin/ringproof_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "ci/candidates.h"
#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr const char* kLines[]{
    "fwd/fp32/b1.hq2.hkv2.sq512.skv512.dqk64.dv64/full/scale0.125/gauss:1/bhsd/single",
    "fwd/fp32/b1.hq2.hkv2.sq1024.skv1024.dqk64.dv64/full/scale0.125/gauss:1/bhsd/single",
};

int threads() { return static_cast<int>(std::thread::hardware_concurrency()); }

void bench_oracle(benchmark::State& state, const Reference& reference) {
  const Inputs& inputs = reference.inputs;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        attention_forward(reference.c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), threads()));
  }
}

// A timing counts only with an accepted verdict on the output of a timed call.
void bench_candidate(benchmark::State& state, const Candidate& candidate, const Reference& reference) {
  Tensor out(dtype_of_out(reference.c.problem.dtype), reference.c.problem.shape_out());
  Tensor lse(dtype_of_lse(reference.c.problem.dtype), reference.c.problem.shape_lse());
  const TensorView lse_view = lse.view();
  const Inputs& inputs = reference.inputs;
  for (auto _ : state) {
    candidate.forward(reference.c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), out.view(), &lse_view,
                      nullptr);
  }
  const Dtype dtype = reference.c.problem.dtype;
  const Arithmetic arithmetic = resolve(candidate.describe(dtype, Direction::kForward).arithmetic, dtype);
  const Got got{CallStatus::kReturned, "", out, lse, true, {}, 0};
  const CaseVerdict verdict = verify_case(compare(candidate.name, reference, arithmetic, got));
  if (verdict.outcome != Outcome::kAccepted) state.SkipWithError(verdict.reason.c_str());
}

// Keeps the medians, to print their ratios.
class MedianReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.aggregate_name == "median") medians_[run.run_name.function_name] = run.GetAdjustedRealTime();
    }
    ConsoleReporter::ReportRuns(runs);
  }
  void print_ratios() const {
    for (const auto& [name, median] : medians_) {
      const std::size_t begin = name.find(' ') + 1;
      const auto oracle = medians_.find("oracle " + name.substr(begin));
      if (oracle != medians_.end() && oracle->first != name)
        GetOutputStream() << name << ": " << median / oracle->second << " x oracle\n";
    }
  }

 private:
  std::map<std::string, double> medians_;
};

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) {
  using namespace ringproof;
  std::vector<Reference> references;
  for (const char* line : kLines) references.push_back(prepare(parse_case(line), threads()));
  const std::vector<Candidate> candidates = choose_candidates({});
  for (const Reference& reference : references) {
    const std::string line = to_string(reference.c);
    const auto settle = [](benchmark::internal::Benchmark* bench) {
      bench->Unit(benchmark::kMillisecond)->UseRealTime()->ReportAggregatesOnly();
    };
    settle(benchmark::RegisterBenchmark(("oracle " + line).c_str(),
                                        [&](benchmark::State& state) { bench_oracle(state, reference); }));
    for (const Candidate& candidate : candidates) {
      if (!candidate.not_run_reason.empty()) continue;
      settle(benchmark::RegisterBenchmark((candidate.name + " " + line).c_str(), [&](benchmark::State& state) {
        bench_candidate(state, candidate, reference);
      }));
    }
  }
  benchmark::Initialize(&argc, argv);
  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_ratios();
  return 0;
}

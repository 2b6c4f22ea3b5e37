// Google Benchmark keeps the clock and writes the JSON that its own tools read; each sample is one of its repetitions.
// Only the candidate's call is timed (manual time: what run() measured of it), never the memory laid out around it, so
// the cpu_time in the JSON, which covers that too, is no measure of a candidate.

#include "ci/bench.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <thread>

#include "ci/bench_metrics.h"
#include "ci/bench_process.h"
#include "ci/commit.h"
#include "ci/interrupt.h"
#include "ci/judge_one.h"
#include "ci/machine.h"
#include "ci/progress.h"
#include "ci/yardsticks.h"
#include "reference/judge/bound_forward.h"
#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

#ifdef RINGPROOF_HAS_FAST_ORACLE
#include "reference/oracle/fast/fast_forward.h"
#endif

namespace ringproof {

// What callgrind counts is told by this name (ci/perf/counts.py): whatever happens within one call of it. The empty
// assembly keeps the return from becoming a jump, after which nobody could see where it ends.
[[gnu::noinline]] void bench_counted_call(const std::function<void()>& call) {
  call();
  asm volatile("");
}

namespace {

// Seconds that timing a call takes which does nothing: the least of many, as every sample has it.
double seconds_of_empty_call() {
  double least = 1;
  for (int i = 0; i < 1000; ++i) {
    const auto start = std::chrono::steady_clock::now();
    bench_counted_call([] {});
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

// The same candidate whose call alone is counted, none of the memory laid out around it.
Candidate with_counted_call(Candidate candidate) {
  candidate.forward = [inner = std::move(candidate.forward)](auto&&... given) {
    Status status = Status::kError;
    bench_counted_call([&] { status = inner(given...); });
    return status;
  };
  return candidate;
}

// Medians and quartiles as they come, on stdout; the JSON beside them.
class Reporter : public benchmark::BenchmarkReporter {
 public:
  Reporter(std::ostream* json, std::int64_t& done) : done_(done) {
    json_.SetOutputStream(json);
    json_.SetErrorStream(json);
    writes_json_ = json != nullptr;
  }
  bool ReportContext(const Context& context) override { return !writes_json_ || json_.ReportContext(context); }
  void Finalize() override {
    if (writes_json_) json_.Finalize();
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    if (writes_json_) json_.ReportRuns(runs);
    std::vector<double> times_ms;
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration) times_ms.push_back(run.GetAdjustedRealTime());
    }
    if (times_ms.empty()) return;  // Google Benchmark's own mean, median and deviation
    ++done_;
    if (runs.front().error_occurred) return;  // said where it happened
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration) seconds_timed_ += run.real_accumulated_time;
    }
    std::sort(times_ms.begin(), times_ms.end());
    const auto at = [&](std::size_t quarter) { return times_ms[quarter * (times_ms.size() - 1) / 4]; };
    fmt::print("{:>10.3f} ms  [{:.3f}, {:.3f}]  {}\n", at(2), at(1), at(3), runs.front().run_name.function_name);
    std::fflush(stdout);
    ++count_timed_;
  }
  int count_timed() const { return count_timed_; }
  double seconds_timed() const { return seconds_timed_; }

 private:
  benchmark::JSONReporter json_;
  bool writes_json_;
  std::int64_t& done_;
  int count_timed_ = 0;
  double seconds_timed_ = 0;
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options)
      : options_(options),
        threads_(options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency())),
        chosen_(choose_metrics(options)) {
    const Machine machine = this_machine();
    benchmark::AddCustomContext("ringproof_commit", built_commit());
    benchmark::AddCustomContext("cpu", machine.cpu);
    benchmark::AddCustomContext("os", machine.os);
    benchmark::AddCustomContext("cores", std::to_string(machine.cores));
    benchmark::AddCustomContext("cuda_device", machine.cuda_device);
    benchmark::AddCustomContext("threads", std::to_string(threads_));
    if (!options.yardsticks) return;
    for (const Yardstick& one : measure_yardsticks(threads_)) {
      benchmark::AddCustomContext("yardstick_" + one.name, fmt::format("{:.4g}", one.value));
    }
  }

  ExitCode time_all() {
    const auto start = std::chrono::steady_clock::now();
    for (const Metric& metric : chosen_.metrics) enlist(metric);
    const std::string part_file = options_.json + ".part";
    std::ofstream json;
    if (!options_.json.empty()) {
      json.open(part_file);
      if (!json) throw InputError("'" + options_.json + "' cannot be written; give --json another one");
    }
    progress_.emplace(static_cast<std::int64_t>(chosen_.metrics.size()), "metrics");
    Reporter reporter(options_.json.empty() ? nullptr : &json, done_);
    fmt::print("{:>13}  quartiles, of {} samples of at least {:g} s\n", "median", options_.samples,
               options_.seconds_min);
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::ClearRegisteredBenchmarks();
    progress_->clear();
    for (const std::string& line : chosen_.left_out) fmt::print("{}\n", line);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    fmt::print("measured work: {:.2f} s of {:.2f} s; timing an empty call takes {:.0f} ns\n", reporter.seconds_timed(),
               wall.count(), 1e9 * seconds_of_empty_call());
    if (!options_.json.empty()) {
      json.close();
      std::filesystem::rename(part_file, options_.json);
    }
    const bool is_complete = !interrupt_.asked() && reporter.count_timed() > 0;
    return outcome_ == Outcome::kRejected                       ? ExitCode::kRejected
           : outcome_ == Outcome::kInconclusive || !is_complete ? ExitCode::kInconclusive
                                                                : ExitCode::kAccepted;
  }

 private:
  void enlist(const Metric& metric) {
    benchmark::internal::Benchmark* const one =
        benchmark::RegisterBenchmark(metric.name().c_str(), [this, &metric](benchmark::State& state) {
          if (interrupt_.asked()) return state.SkipWithError("interrupted");
          progress_->show(done_, metric.name());
          if (metric.of == PartOf::kProcess) return time_process(state, metric);
          const Reference& reference = reference_of(metric.c);
          if (metric.candidate) return time_candidate(state, metric, reference);
          time_judge(state, metric.part, reference);
        });
    one->UseManualTime()->Unit(benchmark::kMillisecond)->Repetitions(options_.samples);
    if (metric.of == PartOf::kProcess || options_.calls > 0) {
      one->Iterations(std::max<std::int64_t>(1, options_.calls));
    } else {
      one->MinTime(options_.seconds_min);
    }
  }

  // One at a time: metrics of a Case follow one another.
  const Reference& reference_of(const Case& c) {
    const std::string line = to_string(c);
    if (!reference_ || to_string(reference_->c) != line) {
      reference_.reset();
      reference_.emplace(prepare(c, threads_));
    }
    return *reference_;
  }

  // `seconds_of_call` calls once. What is made twice is spread evenly over the calls.
  template <class SecondsOfCall>
  void time_calls(benchmark::State& state, const SecondsOfCall& seconds_of_call) const {
    double owed = 0.5;
    for (auto _ : state) {
      double seconds = seconds_of_call();
      owed += options_.repeat_share;
      if (owed >= 1) {
        owed -= 1;
        seconds += seconds_of_call();
      }
      state.SetIterationTime(seconds);
    }
  }

  template <class Work>
  void time(benchmark::State& state, const Work& work) const {
    time_calls(state, [&] {
      const auto start = std::chrono::steady_clock::now();
      bench_counted_call(work);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    });
  }

  void time_judge(benchmark::State& state, const std::string& part, const Reference& reference) const {
    const Inputs& inputs = reference.inputs;
    const Problem& problem = reference.c.problem;
    const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
    if (part == "reference") {
      time(state, [&] { benchmark::DoNotOptimize(prepare(reference.c, inputs, threads_)); });
    } else if (part == "plain_oracle") {
      time(state, [&] { benchmark::DoNotOptimize(attention_forward(problem, q, k, v, threads_)); });
#ifdef RINGPROOF_HAS_FAST_ORACLE
    } else if (part == "fast_oracle") {
      time(state, [&] { benchmark::DoNotOptimize(fast_attention_forward(problem, q, k, v, threads_)); });
#endif
    } else {
      const Arithmetic arithmetic = resolve(Arithmetic{}, problem.dtype);
      time(state, [&] { benchmark::DoNotOptimize(bound_forward(reference.c, arithmetic, reference.want)); });
    }
  }

  void time_candidate(benchmark::State& state, const Metric& metric, const Reference& reference) {
    const Candidate& candidate = *metric.candidate;
    Buffers& buffers = buffers_[candidate.name];
    Evidence evidence;
    if (metric.part == "verdict") {
      time(state, [&] { evidence = judge_one(candidate, reference, buffers); });
    } else {
      Got got = run(candidate, reference, buffers);
      const Arithmetic arithmetic = resolve(got.description.arithmetic, reference.c.problem.dtype);
      if (metric.part == "comparison") {
        time(state, [&] { evidence = compare(candidate.name, reference, arithmetic, got); });
      } else {
        const Candidate timed = with_counted_call(candidate);
        time_calls(state, [&] {
          got = run(timed, reference, buffers);
          return got.time_ms / 1e3;
        });
        evidence = compare(candidate.name, reference, arithmetic, got);
      }
    }
    const CaseVerdict verdict = verify_case(evidence);
    enter(state, metric, verdict.outcome, verdict.reason);
  }

  void time_process(benchmark::State& state, const Metric& metric) {
    TimedProcess timed;
    time_calls(state, [&] {
      timed = run_timed_process(metric);
      return timed.seconds;
    });
    enter(state, metric, timed.outcome, timed.reason);
  }

  // A time stands only beside an accepted verdict on what a timed call left.
  void enter(benchmark::State& state, const Metric& metric, Outcome outcome, const std::string& reason) {
    state.SetLabel(to_string(outcome));
    if (outcome == Outcome::kAccepted) return;
    outcome_ = worst(outcome_, outcome);
    const std::string line =
        fmt::format("{}: {} on '{}': {}", metric.who, to_string(outcome), to_string(metric.c), reason);
    if (std::find(chosen_.left_out.begin(), chosen_.left_out.end(), line) == chosen_.left_out.end()) {
      chosen_.left_out.push_back(line);
    }
    state.SkipWithError(reason.c_str());
  }

  BenchOptions options_;
  int threads_;
  MetricChoice chosen_;
  std::map<std::string, Buffers> buffers_;
  std::optional<Reference> reference_;
  std::int64_t done_ = 0;
  std::optional<Progress> progress_;
  Interrupt interrupt_;
  Outcome outcome_ = Outcome::kAccepted;
};

}  // namespace

ExitCode run_bench(const BenchOptions& options) { return Bench(options).time_all(); }

}  // namespace ringproof

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
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "ci/candidates.h"
#include "ci/commit.h"
#include "ci/interrupt.h"
#include "ci/judge_one.h"
#include "ci/machine.h"
#include "ci/progress.h"
#include "reference/judge/reference.h"
#include "reference/judge/run.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr const char* kForward = "forward";
// Parts of the judge; the first two are timed for each candidate, the others once a Case.
constexpr const char* kVerdict = "verdict";
constexpr const char* kComparison = "comparison";
constexpr const char* kReference = "reference";
constexpr const char* kPlainOracle = "plain_oracle";

std::vector<std::string> default_lines() {
  std::vector<std::string> lines;
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    lines.push_back(fmt::format(
        "fwd/{}/b1.hq2.hkv2.sq512.skv512.dqk64.dv64/causal_bottom_right/scale0.125/gauss:1/bhsd/single", dtype));
  }
  return lines;
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
    std::sort(times_ms.begin(), times_ms.end());
    const auto at = [&](std::size_t quarter) { return times_ms[quarter * (times_ms.size() - 1) / 4]; };
    fmt::print("{:>10.3f} ms  [{:.3f}, {:.3f}]  {}\n", at(2), at(1), at(3), runs.front().run_name.function_name);
    std::fflush(stdout);
    ++count_timed_;
  }
  int count_timed() const { return count_timed_; }

 private:
  benchmark::JSONReporter json_;
  bool writes_json_;
  std::int64_t& done_;
  int count_timed_ = 0;
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options)
      : options_(options),
        threads_(options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency())) {
    const Machine machine = this_machine();
    memory_bytes_max_ = machine.memory_bytes;
    if (options.metrics_file.empty()) {
      choose();
    } else {
      read_metrics();
    }
    if (metrics_.empty()) {
      throw InputError("no candidate named here covers any of these Cases; see ringproof list candidates");
    }
    benchmark::AddCustomContext("ringproof_commit", built_commit());
    benchmark::AddCustomContext("cpu", machine.cpu);
    benchmark::AddCustomContext("os", machine.os);
    benchmark::AddCustomContext("cores", std::to_string(machine.cores));
    benchmark::AddCustomContext("cuda_device", machine.cuda_device);
    benchmark::AddCustomContext("threads", std::to_string(threads_));
  }

  ExitCode time_all() {
    for (const Metric& metric : metrics_) enlist(metric);
    const std::string part_file = options_.json + ".part";
    std::ofstream json;
    if (!options_.json.empty()) {
      json.open(part_file);
      if (!json) throw InputError("'" + options_.json + "' cannot be written; give --json another one");
    }
    progress_.emplace(static_cast<std::int64_t>(metrics_.size()), "metrics");
    Reporter reporter(options_.json.empty() ? nullptr : &json, done_);
    fmt::print("{:>13}  quartiles, of {} samples of at least {:g} s\n", "median", options_.samples,
               options_.seconds_min);
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::ClearRegisteredBenchmarks();
    progress_->clear();
    for (const std::string& line : not_timed_) fmt::print("{}\n", line);
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
  struct Metric {
    std::string part;
    std::optional<Candidate> candidate;  // none: a part of the judge that knows no candidate
    Case c;

    std::string name() const { return part + " " + (candidate ? candidate->name + " " : "") + to_string(c); }
  };

  static bool has_candidate(const std::string& part) {
    if (part == kForward || part == kVerdict || part == kComparison) return true;
    if (part == kReference || part == kPlainOracle) return false;
    throw InputError("there is no part '" + part +
                     "'; there are forward, verdict, comparison, reference, plain_oracle");
  }

  // Every part of every candidate on every Case that it declares.
  void choose() {
    CaseChoice choice = options_.cases;
    choice.memory_bytes_max = memory_bytes_max_;
    choice.in_order = true;
    if (choice.lines.empty() && choice.files.empty() && choice.tier.empty()) choice.lines = default_lines();
    const std::vector<std::string> parts = options_.parts.empty() ? std::vector<std::string>{kForward} : options_.parts;
    const std::vector<Candidate> candidates = choose_candidates(options_.candidates);
    for (const Case& c : choose_cases(choice)) {
      for (const std::string& part : parts) {
        if (!has_candidate(part)) {
          metrics_.push_back({part, std::nullopt, c});
          continue;
        }
        for (const Candidate& candidate : candidates) add_if_declared(part, candidate, c);
      }
    }
  }

  void read_metrics() {
    std::ifstream file(options_.metrics_file);
    if (!file)
      throw InputError("'" + options_.metrics_file + "' cannot be read; give --metrics a file of metric names");
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      std::istringstream words(line.substr(0, line.find('#')));
      std::vector<std::string> word{std::istream_iterator<std::string>(words), {}};
      if (word.empty()) continue;
      const auto refuse = [&](const std::string& why) {
        throw InputError(fmt::format("{}:{}: {}", options_.metrics_file, number, why));
      };
      try {
        const bool with_candidate = has_candidate(word[0]);
        if (word.size() != (with_candidate ? 3u : 2u)) {
          refuse(fmt::format("wanted '{}{} <Case line>'", word[0], with_candidate ? " <candidate>" : ""));
        }
        const Case c = choose_cases({.lines = {word.back()}, .memory_bytes_max = memory_bytes_max_}).front();
        if (with_candidate) {
          add_if_declared(word[0], choose_candidates(std::vector{word[1]}).front(), c);
        } else {
          metrics_.push_back({word[0], std::nullopt, c});
        }
      } catch (const InputError& error) {
        if (std::string(error.what()).starts_with(options_.metrics_file)) throw;
        refuse(error.what());
      }
    }
  }

  void add_if_declared(const std::string& part, const Candidate& candidate, const Case& c) {
    const bool is_named = !options_.candidates.empty() || !options_.metrics_file.empty();
    if (!candidate.not_run_reason.empty()) return say("not run: " + candidate.name + ": " + candidate.not_run_reason);
    const std::string outside = unsupported_reason(candidate.describe(c.problem.dtype, Direction::kForward), c.problem);
    if (outside.empty()) {
      metrics_.push_back({part, candidate, c});
    } else if (is_named) {
      say("not asked: " + candidate.name + " declares no " + outside);
    }
  }

  // Once, at the end.
  void say(const std::string& line) {
    if (std::find(not_timed_.begin(), not_timed_.end(), line) == not_timed_.end()) not_timed_.push_back(line);
  }

  void enlist(const Metric& metric) {
    benchmark::RegisterBenchmark(metric.name().c_str(),
                                 [this, &metric](benchmark::State& state) {
                                   if (interrupt_.asked()) return state.SkipWithError("interrupted");
                                   progress_->show(done_, metric.name());
                                   const Reference& reference = reference_of(metric.c);
                                   if (metric.candidate) return time_candidate(state, metric, reference);
                                   time_judge(state, metric.part, reference);
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->MinTime(options_.seconds_min)
        ->Repetitions(options_.samples);
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

  template <class Work>
  static void time(benchmark::State& state, const Work& work) {
    for (auto _ : state) {
      const auto start = std::chrono::steady_clock::now();
      work();
      state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }

  void time_judge(benchmark::State& state, const std::string& part, const Reference& reference) {
    const Inputs& inputs = reference.inputs;
    const Problem& problem = reference.c.problem;
    if (part == kReference) {
      time(state, [&] { benchmark::DoNotOptimize(prepare(reference.c, inputs, threads_)); });
    } else {
      time(state, [&] {
        benchmark::DoNotOptimize(
            attention_forward(problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), threads_));
      });
    }
  }

  void time_candidate(benchmark::State& state, const Metric& metric, const Reference& reference) {
    const Candidate& candidate = *metric.candidate;
    Buffers& buffers = buffers_[candidate.name];
    Evidence evidence;
    if (metric.part == kVerdict) {
      time(state, [&] { evidence = judge_one(candidate, reference, buffers); });
    } else {
      Got got = run(candidate, reference, buffers);
      const Arithmetic arithmetic = resolve(got.description.arithmetic, reference.c.problem.dtype);
      if (metric.part == kComparison) {
        time(state, [&] { evidence = compare(candidate.name, reference, arithmetic, got); });
      } else {
        for (auto _ : state) {
          got = run(candidate, reference, buffers);
          state.SetIterationTime(got.time_ms / 1e3);
        }
        evidence = compare(candidate.name, reference, arithmetic, got);
      }
    }
    const CaseVerdict verdict = verify_case(evidence);
    state.SetLabel(to_string(verdict.outcome));
    if (verdict.outcome == Outcome::kAccepted) return;
    outcome_ = worst(outcome_, verdict.outcome);
    say(fmt::format("{}: {} on '{}': {}", candidate.name, to_string(verdict.outcome), evidence.case_line,
                    verdict.reason));
    state.SkipWithError(verdict.reason.c_str());
  }

  BenchOptions options_;
  int threads_;
  std::uint64_t memory_bytes_max_ = 0;
  std::vector<Metric> metrics_;
  std::vector<std::string> not_timed_;
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

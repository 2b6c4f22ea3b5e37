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
#include <map>
#include <optional>
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
    CaseChoice choice = options.cases;
    choice.memory_bytes_max = machine.memory_bytes;
    choice.in_order = true;
    if (choice.lines.empty() && choice.files.empty() && choice.tier.empty()) choice.lines = default_lines();
    cases_ = choose_cases(choice);
    candidates_ = choose_candidates(options.candidates);
    read_parts();
    benchmark::AddCustomContext("ringproof_commit", built_commit());
    benchmark::AddCustomContext("cpu", machine.cpu);
    benchmark::AddCustomContext("cuda_device", machine.cuda_device);
    benchmark::AddCustomContext("threads", std::to_string(threads_));
  }

  ExitCode time_all() {
    for (std::size_t at = 0; at < cases_.size(); ++at) enlist(at);
    if (enlisted_ == 0)
      throw InputError("no candidate named here covers any of these Cases; see ringproof list candidates");
    const std::string part_file = options_.json + ".part";
    std::ofstream json;
    if (!options_.json.empty()) {
      json.open(part_file);
      if (!json) throw InputError("'" + options_.json + "' cannot be written; give --json another one");
    }
    progress_.emplace(enlisted_, "metrics");
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
  void read_parts() {
    static const std::vector<std::string> known{kForward, kVerdict, kComparison, kReference, kPlainOracle};
    parts_ = options_.parts.empty() ? std::vector<std::string>{kForward} : options_.parts;
    for (const std::string& part : parts_) {
      if (std::find(known.begin(), known.end(), part) == known.end()) {
        throw InputError("there is no part '" + part +
                         "'; there are forward, verdict, comparison, reference, plain_oracle");
      }
    }
  }

  bool asks(const char* part) const { return std::find(parts_.begin(), parts_.end(), part) != parts_.end(); }

  void enlist(std::size_t at) {
    const Case& c = cases_[at];
    const std::string line = to_string(c);
    if (asks(kReference))
      add("reference " + line, at, [this](auto& state, auto& reference) { time_reference(state, reference); });
    if (asks(kPlainOracle))
      add("plain_oracle " + line, at, [this](auto& state, auto& reference) { time_oracle(state, reference); });
    for (const Candidate& candidate : candidates_) {
      if (!candidate.not_run_reason.empty()) {
        if (at == 0) not_timed_.push_back("not run: " + candidate.name + ": " + candidate.not_run_reason);
        continue;
      }
      const std::string outside =
          unsupported_reason(candidate.describe(c.problem.dtype, Direction::kForward), c.problem);
      if (!outside.empty()) {
        if (!options_.candidates.empty())
          not_timed_.push_back("not asked: " + candidate.name + " declares no " + outside);
        continue;
      }
      for (const char* part : {kForward, kVerdict, kComparison}) {
        if (!asks(part)) continue;
        add(fmt::format("{} {} {}", part, candidate.name, line), at,
            [this, &candidate, part](auto& state, auto& reference) {
              time_candidate(state, candidate, reference, part);
            });
      }
    }
  }

  template <class Work>
  void add(const std::string& name, std::size_t at, Work work) {
    ++enlisted_;
    benchmark::RegisterBenchmark(name.c_str(),
                                 [this, name, at, work](benchmark::State& state) {
                                   if (interrupt_.asked()) return state.SkipWithError("interrupted");
                                   progress_->show(done_, name);
                                   work(state, reference_of(at));
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->MinTime(options_.seconds_min)
        ->Repetitions(options_.samples);
  }

  // One at a time: they are asked for Case by Case.
  const Reference& reference_of(std::size_t at) {
    if (!reference_ || at_ != at) {
      reference_.reset();
      reference_.emplace(prepare(cases_[at], threads_));
      at_ = at;
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

  void time_reference(benchmark::State& state, const Reference& reference) {
    time(state, [&] { benchmark::DoNotOptimize(prepare(reference.c, reference.inputs, threads_)); });
  }

  void time_oracle(benchmark::State& state, const Reference& reference) {
    const Inputs& inputs = reference.inputs;
    time(state, [&] {
      benchmark::DoNotOptimize(
          attention_forward(reference.c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), threads_));
    });
  }

  void time_candidate(benchmark::State& state, const Candidate& candidate, const Reference& reference,
                      const std::string& part) {
    Buffers& buffers = buffers_[candidate.name];
    Evidence evidence;
    if (part == kVerdict) {
      time(state, [&] { evidence = judge_one(candidate, reference, buffers); });
    } else {
      Got got = run(candidate, reference, buffers);
      const Arithmetic arithmetic = resolve(got.description.arithmetic, reference.c.problem.dtype);
      if (part == kComparison) {
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
    const std::string said = fmt::format("{}: {} on '{}': {}", candidate.name, to_string(verdict.outcome),
                                         evidence.case_line, verdict.reason);
    if (std::find(not_timed_.begin(), not_timed_.end(), said) == not_timed_.end()) not_timed_.push_back(said);
    state.SkipWithError(verdict.reason.c_str());
  }

  BenchOptions options_;
  int threads_;
  std::vector<Case> cases_;
  std::vector<Candidate> candidates_;
  std::vector<std::string> parts_, not_timed_;
  std::map<std::string, Buffers> buffers_;
  std::optional<Reference> reference_;
  std::size_t at_ = 0;
  std::int64_t enlisted_ = 0, done_ = 0;
  std::optional<Progress> progress_;
  Interrupt interrupt_;
  Outcome outcome_ = Outcome::kAccepted;
};

}  // namespace

ExitCode run_bench(const BenchOptions& options) { return Bench(options).time_all(); }

}  // namespace ringproof
